//! A small language that says which rows of a datanet are meant: in a search, in a grant, in a training run.
//!
//! ```text
//! filter    = term { "or" term }
//! term      = factor { "and" factor }
//! factor    = "not" factor | "(" filter ")" | field test
//! test      = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value | ( "contains" | "starts_with" ) text
//!           | "in" "(" value { "," value } ")" | "exists"
//! field     = "id" | "contributor" | "contributed_at" | "licence" | "source" | "metadata" { "." name }
//! name      = letters, digits, "_", "-" | "`" anything but backquotes, quotes, backslashes and control characters "`"
//! value     = text | number | "true" | "false"
//! text      = "…" with the escapes of JSON
//! ```
//!
//! Every test is true or false. A field that is missing, `null` or of another type than the value passes no test but `!=`,
//! which is the opposite of `=`. Text is compared character by character; only `contributed_at`, in order with a date or an RFC
//! 3339 moment, is compared by time, a date being its midnight in UTC.
//! `contains` looks for a part of a text, or a text in a list.
//!
//! The meaning is [`Filter::matches`]. [`Filter::to_sql`] says the same to LanceDB: values are escaped, names are of
//! harmless characters, and nothing else of what a person wrote gets there.

mod parse;
mod sql;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// A filter that can be asked of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Expression);

/// Why a text is no filter, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter is not understood at character {at}: {message}")]
pub struct FilterError {
    /// Place in the text, in characters from 1.
    pub at: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// What a filter can ask of a row.
pub trait Fields {
    /// The text of a plain field; none where the row has none.
    fn text(&self, field: Plain) -> Option<&str>;
    /// The metadata, an object.
    fn metadata(&self) -> &Json;
}

/// A field that is text in every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plain {
    /// The datapoint's id.
    Id,
    /// Who contributed it.
    Contributor,
    /// When, as it was given: a date or RFC 3339.
    ContributedAt,
    /// Its licence.
    Licence,
    /// Where it came from.
    Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Test(Field, Test),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Plain(Plain),
    Metadata(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Compare(Comparison, Value),
    In(Vec<Value>),
    Contains(String),
    StartsWith(String),
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Filter {
    /// Whether a row passes.
    pub fn matches(&self, row: &impl Fields) -> bool {
        self.0.matches(row)
    }

    /// A condition over the table's columns in DataFusion's SQL, true for exactly the rows that [`Filter::matches`].
    pub fn to_sql(&self) -> String {
        sql::condition(&self.0)
    }

    /// The rows that pass both.
    pub fn and(&self, other: &Filter) -> Filter {
        Filter(Expression::All(vec![self.0.clone(), other.0.clone()]))
    }

    /// Rows that were contributed at this moment or later.
    pub fn since(moment: &str) -> Filter {
        Self::contributed(Comparison::AtLeast, moment)
    }

    /// Rows that were contributed before this moment.
    pub fn until(moment: &str) -> Filter {
        Self::contributed(Comparison::Less, moment)
    }

    fn contributed(comparison: Comparison, moment: &str) -> Filter {
        let test = Test::Compare(comparison, Value::Text(moment.to_owned()));
        Filter(Expression::Test(Field::Plain(Plain::ContributedAt), test))
    }
}

impl Expression {
    fn matches(&self, row: &impl Fields) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(row)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(row)),
            Self::Not(part) => !part.matches(row),
            Self::Test(Field::Plain(field), test) => match test.moment(*field) {
                Some((comparison, moment)) => {
                    row.text(*field).and_then(microseconds).is_some_and(|at| comparison.holds(&at, &moment))
                }
                None => test.of_text(row.text(*field)),
            },
            Self::Test(Field::Metadata(path), test) => test.of_json(at(row.metadata(), path)),
        }
    }
}

impl Test {
    /// Where this asks for an order in time: how, and the moment in microseconds since 1970.
    fn moment(&self, field: Plain) -> Option<(Comparison, i64)> {
        match self {
            Self::Compare(Comparison::Equal | Comparison::Unequal, _) => None,
            Self::Compare(comparison, Value::Text(value)) if field == Plain::ContributedAt => {
                Some((*comparison, microseconds(value)?))
            }
            _ => None,
        }
    }

    fn of_text(&self, text: Option<&str>) -> bool {
        match self {
            Self::Compare(Comparison::Unequal, value) => text.is_none_or(|text| !value.is_text(text)),
            Self::Compare(comparison, Value::Text(value)) => text.is_some_and(|text| comparison.holds(text, value)),
            Self::Compare(..) => false,
            Self::In(values) => text.is_some_and(|text| values.iter().any(|value| value.is_text(text))),
            Self::Contains(part) => text.is_some_and(|text| text.contains(part.as_str())),
            Self::StartsWith(start) => text.is_some_and(|text| text.starts_with(start.as_str())),
            Self::Exists => text.is_some(),
        }
    }

    fn of_json(&self, found: Option<&Json>) -> bool {
        let found = found.filter(|found| !found.is_null());
        match self {
            Self::Compare(Comparison::Unequal, value) => found.is_none_or(|found| !value.is(found)),
            Self::Compare(comparison, value) => match (found, value) {
                (Some(Json::String(text)), Value::Text(value)) => comparison.holds(&escaped(text), &escaped(value)),
                (Some(Json::Number(number)), Value::Number(value)) => {
                    number.as_f64().is_some_and(|number| comparison.holds(&number, value))
                }
                (Some(Json::Bool(_)), Value::Bool(_)) if *comparison == Comparison::Equal => {
                    found.is_some_and(|found| value.is(found))
                }
                _ => false,
            },
            Self::In(values) => found.is_some_and(|found| values.iter().any(|value| value.is(found))),
            Self::Contains(part) => match found {
                Some(Json::String(text)) => escaped(text).contains(&escaped(part)),
                Some(Json::Array(members)) => members.iter().any(|member| member.as_str() == Some(part)),
                _ => false,
            },
            Self::StartsWith(start) => {
                matches!(found, Some(Json::String(text)) if escaped(text).starts_with(&escaped(start)))
            }
            Self::Exists => found.is_some(),
        }
    }
}

impl Comparison {
    fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl Value {
    fn is_text(&self, text: &str) -> bool {
        matches!(self, Self::Text(value) if value == text)
    }

    fn is(&self, found: &Json) -> bool {
        match (self, found) {
            (Self::Text(value), Json::String(text)) => value == text,
            (Self::Number(value), Json::Number(number)) => number.as_f64() == Some(*value),
            (Self::Bool(value), Json::Bool(found)) => value == found,
            _ => false,
        }
    }
}

/// The moment that a date or an RFC 3339 text names, in microseconds since 1970; none if it names none.
fn microseconds(text: &str) -> Option<i64> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let date = (text.len() == 10).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten().map(midnight);
    let moment = date.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc()))?;
    Some(moment.timestamp_micros())
}

/// The member of the metadata that a path names.
fn at<'a>(metadata: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(metadata, |at, name| at.as_object()?.get(name))
}

/// Text as JSON writes it, without the quotes: what the table's own functions give, so that both compare the same.
fn escaped(text: &str) -> String {
    let written = Json::String(text.to_owned()).to_string();
    written[1..written.len() - 1].to_owned()
}

impl Plain {
    const ALL: [Self; 5] = [Self::Id, Self::Contributor, Self::ContributedAt, Self::Licence, Self::Source];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Contributor => "contributor",
            Self::ContributedAt => "contributed_at",
            Self::Licence => "licence",
            Self::Source => "source",
        }
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Filter)
    }
}

/// In a form that is read back as the same filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Expression], word: &str| {
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                    Self::Not(_) | Self::Test(..) => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::All(parts) => list(f, parts, "and"),
            Self::Any(parts) => list(f, parts, "or"),
            Self::Not(part) => match **part {
                Self::All(_) | Self::Any(_) => write!(f, "not ({part})"),
                Self::Not(_) | Self::Test(..) => write!(f, "not {part}"),
            },
            Self::Test(field, test) => write!(f, "{field} {test}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(field) => f.write_str(field.name()),
            Self::Metadata(path) => {
                f.write_str("metadata")?;
                for name in path {
                    match parse::is_plain_name(name) {
                        true => write!(f, ".{name}")?,
                        false => write!(f, ".`{name}`")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(comparison, value) => write!(f, "{} {value}", comparison.sign()),
            Self::In(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "in ({})", values.join(", "))
            }
            Self::Contains(part) => write!(f, "contains {}", Json::String(part.clone())),
            Self::StartsWith(start) => write!(f, "starts_with {}", Json::String(start.clone())),
            Self::Exists => f.write_str("exists"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", Json::String(text.clone())),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use serde_json::json;

    use super::*;

    struct Row {
        contributor: &'static str,
        metadata: Json,
    }

    impl Fields for Row {
        fn text(&self, field: Plain) -> Option<&str> {
            match field {
                Plain::Contributor => Some(self.contributor),
                Plain::ContributedAt => Some("2024-05-01T00:00:00Z"),
                Plain::Id | Plain::Licence => Some("x"),
                Plain::Source => None,
            }
        }

        fn metadata(&self) -> &Json {
            &self.metadata
        }
    }

    fn row() -> Row {
        let metadata = json!({"topic": "storage", "year": 2004, "open": true, "tags": ["a", "5", 7], "none": null,
            "at": {"page": 3}, "odd name": "x\ny"});
        Row { contributor: "Ada", metadata }
    }

    #[test]
    fn a_test_holds_of_the_rows_that_it_means() {
        let holds = [
            r#"contributor = "Ada""#,
            r#"contributor != "Bob" and not contributor = "Bob""#,
            r#"metadata.topic = "storage" or contributor = "Bob""#,
            r#"metadata.topic starts_with "sto" and metadata.topic contains "rag""#,
            r#"metadata.tags contains "5""#,
            "metadata.year >= 2004 and metadata.year < 2005.5",
            "metadata.open = true",
            "metadata.at.page in (1, 3)",
            "metadata.`odd name` = \"x\\ny\"",
            r#"metadata.topic exists and not metadata.none exists and not source exists"#,
            r#"metadata.missing != "x" and source != "x""#,
            r#"contributed_at >= "2024-05-01" and contributed_at < "2024-06""#,
            r#"contributed_at <= "2024-05-01T02:00:00+02:00" and contributed_at > "2024-05-01T01:00:00+02:00""#,
        ];
        for text in holds {
            let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(filter.matches(&row()), "{text}");
            let opposite: Filter = format!("not ({text})").parse().unwrap();
            assert!(!opposite.matches(&row()), "not {text}");
        }
        let fails = [
            r#"metadata.year = "2004""#,
            "metadata.topic = 1",
            r#"metadata.missing = "x""#,
            r#"metadata.tags contains "7""#,
            r#"metadata.topic < 3"#,
            r#"source = "x" or source starts_with "x""#,
            r#"metadata.none = "null""#,
        ];
        for text in fails {
            assert!(!text.parse::<Filter>().unwrap().matches(&row()), "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        let cases = [
            ("", 1),
            ("topic = \"x\"", 1),
            ("metadata = \"x\"", 9),
            ("contributor = Ada", 15),
            ("contributor = 3", 16),
            ("contributor = \"Ada", 15),
            ("contributor ~ \"x\"", 13),
            ("contributor = \"x\" contributor", 19),
            ("(contributor = \"x\"", 19),
            ("metadata.open < true", 21),
            ("metadata.`a\"b` = 1", 10),
            ("metadata.a in ()", 16),
        ];
        for (text, at) in cases {
            let error = text.parse::<Filter>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        let deep = format!("{}id = \"x\"{}", "(".repeat(100), ")".repeat(100));
        assert!(deep.parse::<Filter>().is_err());
        assert!(format!("id = \"{}\"", "x".repeat(5000)).parse::<Filter>().is_err());
    }

    #[test]
    fn every_text_is_read_or_refused_and_what_is_read_is_written_the_same() {
        let words = [
            "id",
            "contributor",
            "metadata.a",
            "metadata.`b c`.d",
            "=",
            "!=",
            "<",
            ">=",
            "in",
            "contains",
            "exists",
            "starts_with",
            "and",
            "or",
            "not",
            "(",
            ")",
            ",",
            "\"x\"",
            "\"'; DROP\"",
            "\"\\u00e9\\\\\"",
            "1",
            "-2.5e3",
            "true",
            "é",
            "`",
            "\"",
            ".",
        ];
        let mut random = StdRng::seed_from_u64(5);
        let mut read = 0;
        for _ in 0..200_000 {
            let text: Vec<&str> =
                (0..random.random_range(1..12)).map(|_| words[random.random_range(0..words.len())]).collect();
            let text = text.join(if random.random_bool(0.9) { " " } else { "" });
            if let Ok(filter) = text.parse::<Filter>() {
                read += 1;
                let again: Filter = filter.to_string().parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
                assert_eq!(again, filter, "{text}");
                assert_eq!(again.matches(&row()), filter.matches(&row()));
            }
        }
        assert!(read > 100, "only {read} of the texts were filters");
        // Random bytes that happen to be text.
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random()).collect();
            let _ = String::from_utf8_lossy(&bytes).parse::<Filter>();
        }
    }

    #[test]
    fn a_value_cannot_leave_its_quotes_in_sql() {
        let filter: Filter = r#"contributor = "x' OR 1=1 --" and metadata.a = "'; DROP TABLE""#.parse().unwrap();
        let sql = filter.to_sql();
        assert!(sql.contains("'x'' OR 1=1 --'"), "{sql}");
        assert!(sql.contains(r#"'"''; DROP TABLE"'"#), "{sql}");
        assert_eq!(sql.matches('\'').count() % 2, 0);
    }
}
