//! Relations and their columns.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::{Expression, Name};

/// A table, view, materialised view, foreign or partitioned table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Table {
    /// Its name.
    #[serde(flatten)]
    pub(crate) name: Name,
    /// Whether it is a view.
    pub(crate) is_view: bool,
    /// What may be done to it besides reading, whatever the caller's rights.
    #[serde(rename = "events")]
    writes: i32,
    /// Whether other tables inherit from it: reading it reads them too, and its key is not theirs.
    is_inherited: bool,
    /// Whether it is a table without triggers and rules: an insert does what it says and no more.
    pub(crate) is_plain: bool,
    /// Columns of its primary key, sorted; of a view those of the table behind it.
    pub(crate) primary_key: Vec<String>,
    /// Its columns in order.
    #[serde(deserialize_with = "by_name")]
    pub(crate) columns: IndexMap<String, Column>,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// Its type, that of its base when it is a domain.
    pub(crate) base_type: Expression,
    /// Its type as declared, with modifiers.
    pub(crate) declared_type: Expression,
    /// Its default.
    pub(crate) default: Option<Expression>,
}

fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<String, Column>, D::Error> {
    let columns: Option<Vec<Column>> = Deserialize::deserialize(deserializer)?;
    Ok(columns.unwrap_or_default().into_iter().map(|it| (it.name.clone(), it)).collect())
}

impl Table {
    // Bits of `pg_relation_is_updatable`.
    const UPDATE: i32 = 1 << 2;
    const INSERT: i32 = 1 << 3;
    const DELETE: i32 = 1 << 4;

    /// Whether no two rows have the same primary key.
    pub(crate) fn has_unique_key(&self) -> bool {
        !self.is_view && !self.is_inherited && !self.primary_key.is_empty()
    }

    /// Whether rows can be inserted.
    pub(crate) fn is_insertable(&self) -> bool {
        self.writes & Self::INSERT != 0
    }

    /// Whether rows can be updated.
    pub(crate) fn is_updatable(&self) -> bool {
        self.writes & Self::UPDATE != 0
    }

    /// Whether rows can be deleted.
    pub(crate) fn is_deletable(&self) -> bool {
        self.writes & Self::DELETE != 0
    }

    /// The value of `Allow`.
    pub(crate) fn allowed_methods(&self) -> String {
        let mut methods = "OPTIONS,GET,HEAD".to_owned();
        let may = [
            (self.is_insertable(), ",POST"),
            (self.is_insertable() && self.is_updatable() && !self.primary_key.is_empty(), ",PUT"),
            (self.is_updatable(), ",PATCH"),
            (self.is_deletable(), ",DELETE"),
        ];
        methods.extend(may.into_iter().filter(|(may, _)| *may).map(|(_, method)| method));
        methods
    }
}
