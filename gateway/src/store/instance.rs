//! Which data directory a database on a server belongs to. The log, its key and the files are in the one, what they commit to
//! is in the other: a gateway with the wrong pair would take every record for damaged.

use std::{io::Write, path::Path};

use cairn_database::{Dialect, query};

use super::{Store, StoreError};

impl Store {
    /// Ties the database to a data directory, or refuses where it is tied to another. SQLite's lies in the directory.
    pub(crate) async fn belongs_to(&self, directory: &Path) -> Result<(), StoreError> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let path = directory.join("database-id");
        let here = match std::fs::read_to_string(&path) {
            Ok(id) => Some(id.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::Instance(path, error)),
        };
        let there = query("SELECT id FROM instance").fetch_optional(&self.pool).await?;
        match (here, there.map(|row| row.get::<String, _>("id"))) {
            (Some(here), Some(there)) if here == there => Ok(()),
            (_, Some(_)) => Err(StoreError::OtherInstance(directory.to_owned())),
            (here, None) => {
                // The file first: what is only there is written to the database by the next start.
                let id = match here {
                    Some(id) => id,
                    None => write(&path).map_err(|error| StoreError::Instance(path, error))?,
                };
                query("INSERT INTO instance (id) VALUES (?)").bind(id).execute(&self.pool).await?;
                Ok(())
            }
        }
    }
}

fn write(path: &Path) -> std::io::Result<String> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut file = std::fs::File::create(path)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}
