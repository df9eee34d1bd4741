//! A filter as a condition over a datanet's table.
//!
//! Plain fields are columns of text. Metadata is in the column `attributes`, in Lance's binary JSON: `json_extract` gives the
//! JSON text of a member, from which its type is seen, and null where there is none. Below a `not` every test is wrapped so that
//! it is never null, because `not` of null would be null; elsewhere null leaves a row out just as false does, and a test that is
//! not wrapped is one that an index over its column can answer.

use crate::{Comparison, Expression, Field, Test, Value, escaped};

/// The condition.
pub(crate) fn condition(expression: &Expression) -> String {
    within(expression, false)
}

/// The condition of an expression that stands below a `not`, or does not.
fn within(expression: &Expression, negated: bool) -> String {
    let list = |parts: &[Expression], word: &str| {
        let parts: Vec<String> = parts.iter().map(|part| within(part, negated)).collect();
        format!("({})", parts.join(word))
    };
    match expression {
        Expression::All(parts) => list(parts, " AND "),
        Expression::Any(parts) => list(parts, " OR "),
        Expression::Not(part) => format!("(NOT {})", within(part, true)),
        Expression::Test(field, Test::Compare(Comparison::Unequal, value)) => {
            format!("(NOT {})", never_null(&equal(field, value)))
        }
        // Lance looks for columns with an index in what is not wrapped, and fails over functions of metadata.
        Expression::Test(field, test) if negated || matches!(field, Field::Metadata(_)) => {
            never_null(&condition_of(field, test))
        }
        Expression::Test(field, test) => condition_of(field, test),
    }
}

fn never_null(condition: &str) -> String {
    format!("COALESCE({condition}, false)")
}

fn condition_of(field: &Field, test: &Test) -> String {
    match test {
        Test::Compare(Comparison::Equal | Comparison::Unequal, value) => equal(field, value),
        Test::Compare(comparison, value) => match (field, moment(field, test)) {
            (Field::Plain(plain), Some(moment)) => {
                format!("(CAST(TRY_CAST({} AS TIMESTAMP(6)) AS BIGINT) {} {moment})", plain.name(), comparison.sign())
            }
            _ => compared(field, comparison.sign(), value),
        },
        Test::In(values) => {
            let parts: Vec<String> = values.iter().map(|value| equal(field, value)).collect();
            format!("({})", parts.join(" OR "))
        }
        Test::Contains(part) => match field {
            Field::Plain(plain) => format!("(strpos({}, {}) > 0)", plain.name(), text(part)),
            Field::Metadata(path) => {
                let (json, part) = (extracted(path), escaped(part));
                let inside = format!("({} AND strpos({}, {}) > 0)", is_text(&json), unquoted(&json), text(&part));
                // With its quotes, so that the number 5 is not taken for the text.
                let member = format!(
                    "(starts_with({json}, '[') AND json_array_contains(attributes, {}, {}))",
                    json_path(path),
                    text(&format!("\"{part}\""))
                );
                format!("({} OR {})", never_null(&inside), never_null(&member))
            }
        },
        Test::StartsWith(start) => match field {
            Field::Plain(plain) => format!("starts_with({}, {})", plain.name(), text(start)),
            Field::Metadata(path) => {
                let json = extracted(path);
                format!("({} AND starts_with({}, {}))", is_text(&json), unquoted(&json), text(&escaped(start)))
            }
        },
        Test::Exists => match field {
            Field::Plain(plain) => format!("({} IS NOT NULL)", plain.name()),
            Field::Metadata(path) => format!("({} != 'null')", extracted(path)),
        },
    }
}

fn moment(field: &Field, test: &Test) -> Option<i64> {
    let Field::Plain(plain) = field else { return None };
    test.moment(*plain).map(|(_, moment)| moment)
}

fn equal(field: &Field, value: &Value) -> String {
    match (field, value) {
        (Field::Metadata(path), Value::Text(wanted)) => {
            format!("({} = {})", extracted(path), text(&format!("\"{}\"", escaped(wanted))))
        }
        (Field::Metadata(path), Value::Bool(wanted)) => format!("({} = '{wanted}')", extracted(path)),
        _ => compared(field, "=", value),
    }
}

fn compared(field: &Field, sign: &str, value: &Value) -> String {
    match (field, value) {
        (Field::Plain(plain), Value::Text(value)) => format!("({} {sign} {})", plain.name(), text(value)),
        (Field::Metadata(path), Value::Text(value)) => {
            let json = extracted(path);
            format!("({} AND {} {sign} {})", is_text(&json), unquoted(&json), text(&escaped(value)))
        }
        (Field::Metadata(path), Value::Number(number)) => {
            format!("(TRY_CAST({} AS DOUBLE) {sign} CAST('{number:?}' AS DOUBLE))", extracted(path))
        }
        // The parser lets no such pair through.
        (Field::Plain(_), Value::Number(_) | Value::Bool(_)) | (Field::Metadata(_), Value::Bool(_)) => {
            "false".to_owned()
        }
    }
}

fn extracted(path: &[String]) -> String {
    format!("json_extract(attributes, {})", json_path(path))
}

/// Names have no quotes and no backslashes, see the parser.
fn json_path(path: &[String]) -> String {
    let names: String = path.iter().map(|name| format!("[\"{name}\"]")).collect();
    text(&format!("${names}"))
}

fn is_text(json: &str) -> String {
    format!("starts_with({json}, '\"')")
}

fn unquoted(json: &str) -> String {
    // What is no text may be shorter than its quotes would be; its part is not looked at, but may not fail either.
    format!("substr({json}, 2, abs(character_length({json}) - 2))")
}

/// A literal: quotes are doubled, and there is no other escape in it.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
