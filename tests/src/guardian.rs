//! Cleaning up after a test process that cannot do it itself: one that was killed, or whose statics are never dropped.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A shell that waits for this process to end, however that happens, and then kills a process and removes a directory.
pub(crate) struct Guardian(Child);

impl Guardian {
    /// Guards the process `pid`, a child of ours.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self::run("kill -9 \"$1\"", &pid.to_string())
    }

    /// Guards a directory.
    pub(crate) fn of_directory(path: &Path) -> Self {
        Self::run("rm -rf -- \"$1\"", &path.to_string_lossy())
    }

    fn run(script: &str, argument: &str) -> Self {
        // The pipe's other end is ours alone: reading ends when we do. Ctrl-C reaches the whole group, hence the trap.
        let script = format!("trap '' INT TERM HUP; read -r _; {script}");
        let child = Command::new("sh")
            .args(["-c", &script, "sh", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a shell can be started"))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // What it guards is cleaned up by its owner, who drops it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
