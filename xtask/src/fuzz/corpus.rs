//! Seeds: the rows of `vectors/`, and inputs that once broke something (`fuzz/corpus/`).

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::step;

/// Where seeds come from.
#[derive(Debug)]
pub(crate) struct Corpus {
    root: PathBuf,
}

impl Corpus {
    pub(crate) fn new() -> Self {
        Self { root: step::root() }
    }

    /// The rows of a vector file.
    pub(crate) fn rows(&self, file: &str) -> Result<Vec<Value>, String> {
        let path = self.root.join("vectors").join(file);
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let rows: Vec<Value> = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        if rows.is_empty() { Err(format!("{file} has no rows")) } else { Ok(rows) }
    }

    /// The text at `pointer` in each row that has one.
    pub(crate) fn texts(&self, file: &str, pointer: &str) -> Result<Vec<Vec<u8>>, String> {
        let rows = self.rows(file)?;
        let texts = rows.iter().filter_map(|row| row.pointer(pointer)?.as_str());
        let texts: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).collect();
        if texts.is_empty() { Err(format!("{file}: nothing at {pointer}")) } else { Ok(texts) }
    }

    /// Inputs that broke a target before. A folder that is not there holds none.
    pub(crate) fn broken_before(&self, target: &str) -> Vec<Vec<u8>> {
        let Ok(files) = fs::read_dir(self.root.join("fuzz/corpus").join(target)) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| fs::read(path).ok()).collect()
    }
}
