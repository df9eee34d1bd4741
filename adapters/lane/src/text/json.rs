//! JSON as chat templates see it and print it: keys in the order in which they came, written as Python writes it.

use std::{
    io::{self, Write},
    sync::Arc,
};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Enumerator, Kwargs, Object},
};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// A JSON value for a template. minijinja sorts the keys of its own maps, which changes the prompt.
pub(crate) fn template_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Object(fields) => Value::from_object(Fields(fields.clone())),
        serde_json::Value::Array(items) => items.iter().map(template_value).collect(),
        other => Value::from_serialize(other),
    }
}

#[derive(Debug)]
struct Fields(serde_json::Map<String, serde_json::Value>);

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).map(template_value)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| Value::from(key.as_str())).collect())
    }
}

/// The filter `tojson` as transformers defines it: `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(crate) fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let text = match options.get::<Option<usize>>("indent")? {
        Some(indent) => written(&value, PrettyFormatter::with_indent(" ".repeat(indent).as_bytes())),
        None => written(&value, Python),
    };
    let text = text.map_err(|error| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(error))?;
    Ok(Value::from_safe_string(text))
}

fn written(value: &impl Serialize, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `, ` and `: ` between the parts, as Python's `json.dumps` does.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
