//! What an authority is told of its registry.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A registry that is not the file `registry.db` in the folder `state`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A PostgreSQL database: `postgres://user@host[:port]/database`. The host can be the folder of a
    /// socket: `postgres://user@%2Frun%2Fpostgresql/database`. Off this machine there is always TLS, and
    /// the certificate must be for the host.
    pub url: String,
    /// File with the password, readable by its owner alone. Relative to the file.
    pub password_file: Option<PathBuf>,
    /// PEM file of certificate authorities to trust besides the public ones. With it there is TLS on
    /// this machine as well.
    pub roots: Option<PathBuf>,
}

impl Config {
    /// Makes relative paths those of a folder.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for path in [&mut self.password_file, &mut self.roots].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}
