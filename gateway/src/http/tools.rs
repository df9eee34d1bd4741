//! Tools and response formats, between OpenAI's shapes and the engines'.

use cairn_adapters as engine;
use cairn_openapi::chat::{
    CalledFunction, FunctionName, NamedTool, ResponseFormat, ToolCall, ToolChoice, ToolDefinition,
};
use serde_json::json;

use crate::error::ApiError;

/// Checks names and schemas' outer shape; the engine checks the schemas themselves.
pub(crate) fn tools(given: Vec<ToolDefinition>) -> Result<Vec<engine::Tool>, ApiError> {
    if given.len() > MOST_TOOLS {
        return Err(ApiError::invalid("tools", format!("{} tools are given; give at most {MOST_TOOLS}", given.len())));
    }
    let tool = |(index, tool): (usize, ToolDefinition)| {
        let param = format!("tools.{index}");
        if tool.kind != "function" {
            return Err(ApiError::unsupported(&param, format!("tools of type {:?} are not supported", tool.kind)));
        }
        let name = tool.function.name;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(ApiError::invalid(
                &param,
                format!("{name:?} is not a function's name; use 1 to 64 letters, digits, '_' or '-'"),
            ));
        }
        let parameters = tool.function.parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        if !parameters.is_object() {
            return Err(ApiError::invalid(&param, "parameters must be a JSON schema, which is an object"));
        }
        Ok(engine::Tool { name, description: tool.function.description, parameters })
    };
    let tools: Vec<_> = given.into_iter().enumerate().map(tool).collect::<Result<_, _>>()?;
    for (index, tool) in tools.iter().enumerate() {
        if tools[..index].iter().any(|other| other.name == tool.name) {
            return Err(ApiError::invalid("tools", format!("two tools are called {:?}", tool.name)));
        }
    }
    Ok(tools)
}

/// As OpenAI has it, the default is `auto` with tools and `none` without.
pub(crate) fn choice(given: Option<ToolChoice>, tools: &[engine::Tool]) -> Result<engine::ToolChoice, ApiError> {
    let invalid = |message: String| Err(ApiError::invalid("tool_choice", message));
    let choice = match given {
        None => return Ok(engine::ToolChoice::Auto),
        Some(ToolChoice::Mode(mode)) => match mode.as_str() {
            "none" => engine::ToolChoice::None,
            "auto" => engine::ToolChoice::Auto,
            "required" => engine::ToolChoice::Required,
            other => return invalid(format!("{other:?} is not a choice; use none, auto, required or a function")),
        },
        Some(ToolChoice::Named(NamedTool { function: FunctionName { name }, .. })) => {
            if !tools.iter().any(|tool| tool.name == name) {
                return invalid(format!("no tool is called {name:?}"));
            }
            engine::ToolChoice::Named(name)
        }
    };
    if choice == engine::ToolChoice::Required && tools.is_empty() {
        return invalid("a call is required, and tools is empty".into());
    }
    Ok(choice)
}

/// What the text has to be.
pub(crate) fn format(given: Option<ResponseFormat>) -> engine::ResponseFormat {
    match given {
        None | Some(ResponseFormat::Text) => engine::ResponseFormat::Text,
        Some(ResponseFormat::JsonObject) => engine::ResponseFormat::JsonObject,
        Some(ResponseFormat::JsonSchema { json_schema }) => engine::ResponseFormat::JsonSchema(json_schema.schema),
    }
}

/// A call as the wire has it.
pub(crate) fn call(call: engine::ToolCall, index: Option<usize>) -> ToolCall {
    ToolCall {
        index,
        id: call.id,
        kind: "function".into(),
        function: CalledFunction { name: call.name, arguments: call.arguments },
    }
}

/// A call of an earlier message, as the engines take it.
pub(crate) fn called(call: ToolCall) -> engine::ToolCall {
    engine::ToolCall { id: call.id, name: call.function.name, arguments: call.function.arguments }
}

/// As OpenAI has it.
const MOST_TOOLS: usize = 128;
