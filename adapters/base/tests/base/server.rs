//! A small HTTP server that speaks a hub's and an index's routes with Range, and breaks off where it is told to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it does to the next answer for a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Closes the connection after so many bytes.
    Cut(usize),
    /// Sends so many bytes and then nothing, for ever.
    Stall(usize),
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: HashMap<String, Vec<Fault>>,
    /// Paths that were asked for, with the Range header.
    asked: Vec<(String, Option<String>)>,
}

/// The server, at work until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let server = Self { url, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    // A client that goes away is what the tests are about.
                    let _ = answer(stream, &state).await;
                });
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().files.insert(path.to_owned(), bytes.into());
    }

    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().faults.entry(path.to_owned()).or_default().push(fault);
    }

    /// The Range headers with which a path was asked for, in order.
    pub(crate) fn ranges(&self, path: &str) -> Vec<Option<String>> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(asked, _)| asked == path).map(|(_, range)| range.clone()).collect()
    }
}

/// One request a connection.
async fn answer(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let mut range = None;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let header = header.trim_end().to_lowercase();
        if header.is_empty() {
            break;
        }
        range = header.strip_prefix("range: ").map(str::to_owned).or(range);
    }
    let (file, fault) = {
        let mut state = state.lock().unwrap();
        state.asked.push((path.clone(), range.clone()));
        let faults = state.faults.get_mut(&path);
        let fault = faults.filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0));
        (state.files.get(&path).cloned(), fault)
    };
    let Some(file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    };
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let (total, body) = (file.len(), &file[from.unwrap_or(0).min(file.len())..]);
    let status = match from {
        Some(from) if from >= total => format!("416 Range Not Satisfiable\r\ncontent-range: bytes */{total}"),
        Some(from) => format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}", total - 1),
        None => "200 OK".to_owned(),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    match fault {
        None => stream.write_all(body).await?,
        Some(Fault::Cut(after) | Fault::Stall(after)) => {
            stream.write_all(&body[..after.min(length)]).await?;
            stream.flush().await?;
            if matches!(fault, Some(Fault::Stall(_))) {
                std::future::pending::<()>().await;
            }
        }
    }
    stream.flush().await?;
    stream.shutdown().await
}
