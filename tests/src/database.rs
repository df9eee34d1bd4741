//! The gateways' databases: SQLite in each data directory, or one of a PostgreSQL server's for each, where
//! `scripts/with_postgres.py` started one.

use std::{fs, path::Path, process::Command};

use crate::{Gateway, python, unique};

/// The server's address, without a database; none: SQLite.
pub(crate) fn server() -> Option<String> {
    std::env::var("CAIRN_TEST_POSTGRES").ok().filter(|server| !server.is_empty())
}

/// Makes an empty database, or a copy of the one that belongs to the data directory `from`; returns its name.
pub(crate) fn create(server: &str, from: Option<&Path>) -> String {
    let name = unique("cairn").replace('-', "_");
    let template = from.map(|from| format!(" TEMPLATE \"{}\"", name_in(from))).unwrap_or_default();
    psql(&format!("{server}/postgres"), &format!("CREATE DATABASE \"{name}\"{template}"));
    name
}

/// Notes in a data directory which database is its own, so that copies of the directory copy the database.
pub(crate) fn note(data: &Path, name: &str) {
    fs::write(data.join(NAME), name).expect("a data directory can be written");
}

fn name_in(data: &Path) -> String {
    fs::read_to_string(data.join(NAME)).expect("a data directory names its database")
}

impl Gateway {
    /// Whether its relational state is in PostgreSQL.
    pub fn on_postgres(&self) -> bool {
        self.data().join(NAME).exists()
    }

    /// The address of that database, with the password.
    pub fn database_url(&self) -> Option<String> {
        Some(format!("{}/{}", server()?, name_in(&self.data())))
    }

    /// Carries out SQL on its database, behind its back; what a query finds, a line a row.
    ///
    /// # Panics
    /// The SQL is wrong.
    pub fn sql(&self, statement: &str) -> String {
        if let Some(server) = server() {
            return psql(&format!("{server}/{}", name_in(&self.data())), statement);
        }
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA foreign_keys = ON')\n\
                      for row in c.execute(sys.argv[2]).fetchall(): print('|'.join(str(value) for value in row))\n\
                      c.commit()";
        let mut command = Command::new(python());
        command.arg("-c").arg(script).arg(self.data().join("cairn.db")).arg(statement);
        output(command)
    }
}

fn psql(url: &str, statement: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, url]);
    output(command)
}

fn output(mut command: Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{:?} cannot be run: {error}", command.get_program()));
    assert!(done.status.success(), "the SQL failed: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The file in a data directory that names its database.
const NAME: &str = "test-database";
