//! `cairn.example.toml`, generated from the types: their comments, keys and defaults.

use serde_json::{Map, Value};

use super::RawConfig;

/// The whole example file: every key with its comment and default.
pub(crate) fn example() -> String {
    let schema = schemars::schema_for!(RawConfig).to_value();
    let defaults = serde_json::to_value(RawConfig::default()).unwrap_or_default();
    let mut out = String::from(
        "# Cairn's configuration. Every key with its default: keep what you change, delete the rest.\n\
         # The environment overrides it: CAIRN__SERVER__LISTEN=0.0.0.0:80 sets `listen` in [server].\n",
    );
    for (section, value) in entries(&defaults) {
        let of_section = definition(&schema, &schema["properties"][section.as_str()]);
        out.push('\n');
        comment(&mut out, &schema["properties"][section.as_str()]["description"]);
        out.push_str(&format!("[{section}]\n"));
        for (key, value) in entries(value) {
            comment(&mut out, &of_section["properties"][key.as_str()]["description"]);
            // JSON's strings, numbers, booleans and arrays of these read the same in TOML.
            out.push_str(&format!("{key} = {value}\n"));
        }
    }
    out
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn definition<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    match property["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        Some(name) => &schema["$defs"][name],
        None => property,
    }
}

fn comment(out: &mut String, description: &Value) {
    for line in description.as_str().unwrap_or_default().lines() {
        out.push_str(&format!("# {line}\n"));
    }
}
