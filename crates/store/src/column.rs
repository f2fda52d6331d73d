//! Between columns and values. A record that cannot be read is a failure, never a default.

use std::str::FromStr;

use attorn_registry::{Class, KeyHolder, KeyState, LifeCycle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Reads and writes the columns of one table.
#[derive(Clone, Copy)]
pub(crate) struct Columns(pub(crate) &'static str);

impl Columns {
    /// BIGINT is signed in both databases.
    pub(crate) fn number(self, value: u64) -> Result<i64, Failure> {
        i64::try_from(value).map_err(|_too_large| Failure::Range { table: self.0 })
    }

    pub(crate) fn maybe_number(self, value: Option<u64>) -> Result<Option<i64>, Failure> {
        value.map(|value| self.number(value)).transpose()
    }

    pub(crate) fn count(self, value: i64) -> Result<u64, Failure> {
        u64::try_from(value).map_err(|_negative| Failure::Range { table: self.0 })
    }

    pub(crate) fn maybe_count(self, value: Option<i64>) -> Result<Option<u64>, Failure> {
        value.map(|value| self.count(value)).transpose()
    }

    pub(crate) fn parse<T: FromStr>(self, text: &str) -> Result<T, Failure> {
        text.parse().map_err(|_other_form| Failure::Record { table: self.0 })
    }

    pub(crate) fn maybe_parse<T: FromStr>(self, text: Option<&str>) -> Result<Option<T>, Failure> {
        text.map(|text| self.parse(text)).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(self, text: &str) -> Result<T, Failure> {
        serde_json::from_str(text).map_err(|_other_shape| Failure::Record { table: self.0 })
    }

    pub(crate) fn maybe_json<T: DeserializeOwned>(
        self,
        text: Option<&str>,
    ) -> Result<Option<T>, Failure> {
        text.map(|text| self.json(text)).transpose()
    }

    pub(crate) fn to_json<T: Serialize>(self, value: &T) -> Result<String, Failure> {
        serde_json::to_string(value).map_err(|_not_json| Failure::Record { table: self.0 })
    }

    pub(crate) fn digest(self, text: &str) -> Result<[u8; 32], Failure> {
        let bytes = attorn_jose::from_base64url(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(Failure::Record { table: self.0 })
    }

    pub(crate) fn key_state(self, text: &str) -> Result<KeyState, Failure> {
        let state = KeyState::ALL.into_iter().find(|state| state.as_str() == text);
        state.ok_or(Failure::Record { table: self.0 })
    }

    pub(crate) fn key_holder(self, text: &str) -> Result<KeyHolder, Failure> {
        let holder = KeyHolder::ALL.into_iter().find(|holder| holder.as_str() == text);
        holder.ok_or(Failure::Record { table: self.0 })
    }

    pub(crate) fn state(self, text: &str) -> Result<LifeCycle, Failure> {
        self.parse(text)
    }

    pub(crate) fn class(self, text: &str) -> Result<Class, Failure> {
        self.parse(text)
    }
}

// A macro, because the derive of sqlx would build a second copy of the database driver.
macro_rules! row {
    ($($column:ident: $kind:ty,)*) => {
        struct Row {
            $($column: $kind,)*
        }

        impl sqlx::FromRow<'_, sqlx::any::AnyRow> for Row {
            fn from_row(row: &sqlx::any::AnyRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($column: sqlx::Row::try_get(row, stringify!($column))?,)* })
            }
        }
    };
}
pub(crate) use row;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = Columns("tests");

    #[test]
    fn numbers_stay_in_range() {
        assert_eq!(COLUMNS.number(5).unwrap(), 5);
        assert!(COLUMNS.number(u64::MAX).is_err());
        assert!(COLUMNS.count(-1).is_err());
    }

    #[test]
    fn an_unreadable_record_is_a_failure() {
        assert!(COLUMNS.state("active").is_ok());
        assert!(COLUMNS.state("Active").is_err());
        assert!(COLUMNS.key_state("gone").is_err());
        assert!(COLUMNS.digest("AA").is_err());
        assert!(COLUMNS.json::<Vec<String>>("null").is_err());
    }
}
