//! Which column of a table is which field of a datapoint.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Draft;

/// A field of a datapoint that a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Text,
    Id,
    Contributor,
    ContributedAt,
    Source,
    Licence,
    Metadata,
}

impl Field {
    const ALL: [(&'static str, Self); 7] = [
        ("text", Self::Text),
        ("id", Self::Id),
        ("contributor", Self::Contributor),
        ("contributed_at", Self::ContributedAt),
        ("source", Self::Source),
        ("licence", Self::Licence),
        ("metadata", Self::Metadata),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(own, _)| *own == name).map(|(_, field)| *field)
    }

    /// Puts a value where it belongs. Metadata is no single value and is left to the reader.
    pub(super) fn fill(self, draft: &mut Draft, value: String) {
        match self {
            Self::Text => draft.text = value,
            Self::Id => draft.id = Some(value),
            Self::Contributor => draft.contributor = Some(value),
            Self::ContributedAt => draft.contributed_at = Some(value),
            Self::Source => draft.source = Some(value),
            Self::Licence => draft.licence = Some(value),
            Self::Metadata => {}
        }
    }
}

/// Which column is which field, written `text=body, contributor=author`, or where columns have names of any characters
/// `{"text": "body, as it is"}`. A field that is not named has the column of its own
/// name, if there is one; a column that is no field's becomes metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    by_field: BTreeMap<Field, String>,
}

impl Columns {
    /// The field that a column holds; none: it becomes metadata.
    pub(super) fn field(&self, column: &str) -> Option<Field> {
        let named = self.by_field.iter().find(|(_, of)| *of == column).map(|(field, _)| *field);
        named.or_else(|| Field::named(column).filter(|field| !self.by_field.contains_key(field)))
    }

    /// Fails if one that is named is not there, or none holds the text.
    pub(super) fn check(&self, columns: impl IntoIterator<Item = impl AsRef<str>> + Clone) -> Result<(), String> {
        let there = |wanted: &str| columns.clone().into_iter().any(|column| column.as_ref() == wanted);
        let text = self.by_field.get(&Field::Text).map_or("text", String::as_str);
        if there(text) {
            return Ok(());
        }
        let names: Vec<String> = columns.into_iter().map(|column| format!("`{}`", column.as_ref())).collect();
        Err(format!(
            "there is no `{text}`; say which column holds the text, as in text=body. There are: {}",
            names.join(", ")
        ))
    }
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut by_field = BTreeMap::new();
        for (field, column) in pairs(text)? {
            let Some(known) = Field::named(&field) else {
                let known: Vec<&str> = Field::ALL.iter().map(|(name, _)| *name).collect();
                return Err(format!("`{field}` is no field; there are {}", known.join(", ")));
            };
            if column.is_empty() || by_field.values().any(|other| *other == column) {
                return Err(format!("`{field}={column}`: name a column that no other field has"));
            }
            if by_field.insert(known, column).is_some() {
                return Err(format!("`{field}` is given twice"));
            }
        }
        Ok(Self { by_field })
    }
}

/// Fields and columns as they are written.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.trim_start().starts_with('{') {
        let read: BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|error| format!("not a JSON object of column names: {error}"))?;
        return Ok(read.into_iter().collect());
    }
    let written = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| match pair.split_once('=') {
        Some((field, column)) => Ok((field.trim().to_owned(), column.trim().to_owned())),
        None => Err(format!("`{pair}` is not FIELD=COLUMN, such as text=body")),
    };
    written.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_columns_come_before_own_names() {
        let columns: Columns = "text = body, contributor=author".parse().unwrap();
        assert_eq!(columns.field("body"), Some(Field::Text));
        assert_eq!(columns.field("text"), None);
        assert_eq!(columns.field("licence"), Some(Field::Licence));
        assert_eq!(columns.field("topic"), None);
        assert!(columns.check(["body"]).is_ok());
        assert!(columns.check(["text"]).unwrap_err().contains("`body`"));
        assert!(Columns::default().check(["text"]).is_ok());
    }

    #[test]
    fn column_names_may_hold_anything() {
        let columns: Columns = r#"{"text": "Body, as = written"}"#.parse().unwrap();
        assert_eq!(columns.field("Body, as = written"), Some(Field::Text));
        assert!("{\"text\": 1}".parse::<Columns>().is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for bad in ["text", "txt=body", "text=", "text=a,text=b", "text=a,id=a"] {
            assert!(bad.parse::<Columns>().is_err(), "{bad} was accepted");
        }
    }
}
