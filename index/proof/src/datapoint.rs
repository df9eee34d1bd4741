//! A datapoint as it enters a datanet's tree: in clear what governs its use, as salted commitments what is personal.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical::to_canonical;
use crate::commitment::{Opening, Salt};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};

/// A datapoint in clear, as its contributor gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct DatapointFields {
    /// Name of the datanet.
    pub datanet: String,
    /// The datapoint's id, unique in its datanet.
    pub id: String,
    /// Position in the datanet, from 0; the index of its leaf.
    pub seq: u64,
    /// Who contributed it. Committed.
    pub contributor: String,
    /// When, as RFC 3339 or a date.
    pub contributed_at: String,
    /// Where it came from, such as a URL. Committed.
    pub source: Option<String>,
    /// Licence, as an SPDX expression or a name.
    pub licence: String,
    /// Anything else, a JSON object. Committed.
    pub metadata: Value,
    /// The text. Committed.
    pub text: String,
}

/// The entry of a datanet's tree: [`DatapointFields`] with the personal fields replaced by commitments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Always `cairn/datapoint/v1`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Name of the datanet.
    pub datanet: String,
    /// The datapoint's id.
    pub id: String,
    /// Position in the datanet and index of the leaf.
    pub seq: u64,
    /// When it was contributed.
    pub contributed_at: String,
    /// Licence.
    pub licence: String,
    /// Commitment to the contributor.
    pub contributor: Hash,
    /// Commitment to the text.
    pub text: Hash,
    /// Commitment to the source, or to `null` where there is none.
    pub source: Hash,
    /// Commitment to the metadata.
    pub metadata: Hash,
}

/// The type string of a [`Commitment`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `cairn/datapoint/v1`
    #[default]
    #[serde(rename = "cairn/datapoint/v1")]
    V1,
}

/// A committed field of a datapoint. Its [`Field::name`] is what its salt is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The text.
    Text,
    /// Who contributed it.
    Contributor,
    /// Where it came from.
    Source,
    /// Anything else.
    Metadata,
}

/// The openings of those fields that are disclosed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Opening>,
    /// The contributor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributor: Option<Opening>,
    /// The source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Opening>,
    /// The metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Opening>,
}

impl DatapointFields {
    /// The value of a committed field, as JSON.
    pub fn value(&self, field: Field) -> Value {
        match field {
            Field::Text => json!(self.text),
            Field::Contributor => json!(self.contributor),
            Field::Source => json!(self.source),
            Field::Metadata => self.metadata.clone(),
        }
    }

    /// Openings of the chosen fields.
    pub fn disclose(&self, salt: &Salt, fields: &[Field]) -> Disclosed {
        let open = |field: Field| fields.contains(&field).then(|| salt.open(field.name(), self.value(field)));
        Disclosed {
            text: open(Field::Text),
            contributor: open(Field::Contributor),
            source: open(Field::Source),
            metadata: open(Field::Metadata),
        }
    }
}

impl Commitment {
    /// Commits to a datapoint. Metadata must be a JSON object.
    pub fn new(fields: &DatapointFields, salt: &Salt) -> Result<Commitment> {
        if !fields.metadata.is_object() {
            return Err(Error::MetadataNotObject);
        }
        let commit = |field: Field| salt.commit(field.name(), &fields.value(field));
        let commitment = Commitment {
            kind: Kind::V1,
            datanet: fields.datanet.clone(),
            id: fields.id.clone(),
            seq: fields.seq,
            contributed_at: fields.contributed_at.clone(),
            licence: fields.licence.clone(),
            contributor: commit(Field::Contributor)?,
            text: commit(Field::Text)?,
            source: commit(Field::Source)?,
            metadata: commit(Field::Metadata)?,
        };
        commitment.leaf()?;
        Ok(commitment)
    }

    /// The canonical JSON, the entry of the datanet's tree.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }

    /// The leaf hash in the datanet's tree. Fails only for a position beyond 2^53 - 1.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// The commitment to one field.
    pub fn field(&self, field: Field) -> Hash {
        match field {
            Field::Text => self.text,
            Field::Contributor => self.contributor,
            Field::Source => self.source,
            Field::Metadata => self.metadata,
        }
    }
}

impl Field {
    /// All committed fields.
    pub const ALL: [Field; 4] = [Field::Text, Field::Contributor, Field::Source, Field::Metadata];

    /// The name in JSON and in the derivation of the field's salt.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Text => "text",
            Field::Contributor => "contributor",
            Field::Source => "source",
            Field::Metadata => "metadata",
        }
    }
}

impl Disclosed {
    /// The openings that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Opening)> {
        Field::ALL.into_iter().filter_map(|field| Some((field, self.get(field)?)))
    }

    /// The opening of one field.
    pub fn get(&self, field: Field) -> Option<&Opening> {
        match field {
            Field::Text => self.text.as_ref(),
            Field::Contributor => self.contributor.as_ref(),
            Field::Source => self.source.as_ref(),
            Field::Metadata => self.metadata.as_ref(),
        }
    }

    /// Whether nothing is disclosed.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> DatapointFields {
        DatapointFields {
            datanet: "law".into(),
            id: "a1".into(),
            seq: 4,
            contributor: "Ada".into(),
            contributed_at: "2026-01-02".into(),
            source: None,
            licence: "CC-BY-4.0".into(),
            metadata: json!({"score": 0.1}),
            text: "The text.".into(),
        }
    }

    #[test]
    fn nothing_personal_is_in_the_entry() {
        let commitment = Commitment::new(&fields(), &Salt::new([1; 32])).unwrap();
        let entry = String::from_utf8(commitment.to_bytes().unwrap()).unwrap();
        assert!(!entry.contains("Ada") && !entry.contains("The text") && !entry.contains("0.1"));
        assert!(entry.starts_with(r#"{"contributed_at":"2026-01-02","contributor":""#));
        assert_eq!(crate::canonical::from_canonical::<Commitment>(entry.as_bytes()).unwrap(), commitment);
        assert_ne!(
            commitment.leaf().unwrap(),
            Commitment::new(&fields(), &Salt::new([2; 32])).unwrap().leaf().unwrap()
        );
    }

    #[test]
    fn each_field_opens_by_itself() {
        let salt = Salt::new([1; 32]);
        let commitment = Commitment::new(&fields(), &salt).unwrap();
        for field in Field::ALL {
            let disclosed = fields().disclose(&salt, &[field]);
            assert_eq!(disclosed.iter().count(), 1);
            assert_eq!(disclosed.get(field).unwrap().commitment().unwrap(), commitment.field(field));
        }
        assert!(fields().disclose(&salt, &[]).is_empty());
    }

    #[test]
    fn unfit_fields_are_refused() {
        let salt = Salt::new([1; 32]);
        let array = DatapointFields { metadata: json!([1]), ..fields() };
        assert!(matches!(Commitment::new(&array, &salt), Err(Error::MetadataNotObject)));
        assert!(Commitment::new(&DatapointFields { seq: 1 << 53, ..fields() }, &salt).is_err());
        assert!(Commitment::new(&DatapointFields { metadata: json!({"n": u64::MAX}), ..fields() }, &salt).is_err());
    }
}
