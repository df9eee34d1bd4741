//! A model's chat template, rendered as transformers renders it.

use std::{fmt::Write, path::Path};

use cairn_adapters::{ChatMessage, Role, Tool};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::json;

use super::{
    TextError,
    json::{template_value, tojson},
    read_json,
};

/// From conversations to prompts.
pub(crate) struct Template {
    /// `chat`, and `tools` where the model has a template of its own for them.
    environment: Environment<'static>,
    source: String,
    special: Vec<(&'static str, String)>,
}

impl Template {
    /// From `chat_template.jinja`, or from `tokenizer_config.json`; none where there is none.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, TextError> {
        let config = read_json(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
        let file = directory.join("chat_template.jinja");
        let (chat, tools) = if file.exists() {
            let text = std::fs::read_to_string(&file).map_err(|source| TextError::Io { path: file, source })?;
            (Some(text), None)
        } else {
            let named = |name: &str| {
                let all = config["chat_template"].as_array()?;
                all.iter().find(|it| it["name"] == name)?["template"].as_str().map(str::to_owned)
            };
            (config["chat_template"].as_str().map(str::to_owned).or_else(|| named("default")), named("tool_use"))
        };
        let Some(chat) = chat else { return Ok(None) };
        let special = ["bos_token", "eos_token", "unk_token", "pad_token"];
        let special = special.into_iter().filter_map(|name| Some((name, special_token(&config[name])?))).collect();
        Self::new(chat, tools, special).map(Some).map_err(|source| TextError::Template { source })
    }

    fn new(chat: String, tools: Option<String>, special: Vec<(&'static str, String)>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
            let mut text = String::new();
            let refused = |_| Error::new(ErrorKind::InvalidOperation, format!("{format:?} is not a format of dates"));
            write!(text, "{}", chrono::Local::now().format(&format)).map_err(refused)?;
            Ok(text)
        });
        let source = [chat.as_str(), tools.as_deref().unwrap_or_default()].concat();
        environment.add_template_owned("chat", rewritten(&chat))?;
        if let Some(tools) = tools {
            environment.add_template_owned("tools", rewritten(&tools))?;
        }
        Ok(Self { environment, source, special })
    }

    /// The template's own text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The prompt after which the model answers; the reason where the template refuses the conversation.
    pub(crate) fn render(&self, messages: &[ChatMessage], tools: &[Tool]) -> Result<String, Error> {
        self.write(messages, tools, true)
    }

    /// A special token by its name in the configuration, such as `bos_token`.
    pub(crate) fn special(&self, wanted: &str) -> Option<&str> {
        self.special.iter().find(|(name, _)| *name == wanted).map(|(_, token)| token.as_str())
    }

    /// The conversation as the template writes it, with the beginning of an answer or without.
    pub(crate) fn write(&self, messages: &[ChatMessage], tools: &[Tool], answering: bool) -> Result<String, Error> {
        let has_own = self.environment.get_template("tools").is_ok();
        let template = self.environment.get_template(if has_own && !tools.is_empty() { "tools" } else { "chat" })?;
        let told = !tools.is_empty() && !self.source.contains("tools");
        let messages = if told { instructed(messages, tools) } else { messages.to_vec() };
        let messages: Value = messages.iter().map(|message| template_value(&wire_message(message))).collect();
        let tools: Option<Value> =
            (!tools.is_empty() && !told).then(|| tools.iter().map(|tool| template_value(&wire_tool(tool))).collect());
        let special: Value = self.special.iter().map(|(name, token)| (*name, token.as_str())).collect();
        template.render(context! { messages, tools, add_generation_prompt => answering, ..special })
    }
}

/// What minijinja does not understand of what templates use.
fn rewritten(source: &str) -> String {
    // Marks for training.
    ["{% generation %}", "{%- generation %}", "{%- generation -%}", "{% generation -%}"]
        .into_iter()
        .chain(["{% endgeneration %}", "{%- endgeneration %}", "{%- endgeneration -%}", "{% endgeneration -%}"])
        .fold(source.to_owned(), |source, mark| source.replace(mark, ""))
}

fn special_token(value: &serde_json::Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// For templates that know of no functions: told in words, in the form that Hermes models are trained on.
fn instructed(messages: &[ChatMessage], tools: &[Tool]) -> Vec<ChatMessage> {
    let signatures: Vec<String> = tools.iter().map(|tool| wire_tool(tool).to_string()).collect();
    let told = format!(
        "You may call functions to answer. Their signatures, within <tools></tools>:\n<tools>\n{}\n</tools>\nFor each \
         function call, write a JSON object with its name and arguments within <tool_call></tool_call>:\n<tool_call>\n\
         {{\"name\": <function name>, \"arguments\": <arguments as JSON object>}}\n</tool_call>",
        signatures.join("\n")
    );
    let mut messages = messages.to_vec();
    match messages.first_mut().filter(|message| message.role == Role::System) {
        Some(system) => system.content = format!("{}\n\n{told}", system.content),
        None => messages.insert(0, ChatMessage::new(Role::System, told)),
    }
    messages
}

fn wire_message(message: &ChatMessage) -> serde_json::Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut wire = json!({"role": role, "content": message.content});
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            // Templates write the arguments as JSON themselves.
            let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        });
        wire["tool_calls"] = calls.collect();
    }
    if let Some(id) = &message.tool_call_id {
        wire["tool_call_id"] = json!(id);
    }
    wire
}

fn wire_tool(tool: &Tool) -> serde_json::Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = json!(description);
    }
    function["parameters"] = tool.parameters.clone();
    json!({"type": "function", "function": function})
}

#[cfg(test)]
mod tests {
    use cairn_adapters::ToolCall;

    use super::*;

    fn template(source: &str) -> Template {
        Template::new(source.to_owned(), None, vec![("bos_token", "<s>".into())]).unwrap()
    }

    fn weather() -> Tool {
        let parameters =
            json!({"type": "object", "properties": {"town": {"type": "string"}, "at": {"type": "integer"}}});
        Tool { name: "weather".into(), description: Some("The weather".into()), parameters }
    }

    #[test]
    fn functions_are_written_as_python_writes_them_in_their_own_order() {
        let template = template("{{ bos_token }}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}");
        assert_eq!(
            template.render(&[], &[weather()]).unwrap(),
            "<s>{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"The weather\", \"parameters\": \
             {\"type\": \"object\", \"properties\": {\"town\": {\"type\": \"string\"}, \"at\": {\"type\": \"integer\"}}}}}\n"
        );
    }

    #[test]
    fn what_templates_use_of_python_works() {
        let source = "{%- for m in messages[::-1] %}{{ m.content.strip() }}|{{ m['role'].upper() }};{% endfor -%}\n\
                      {% generation %}{% if not tools is defined or tools is none %}none{% endif %}{% endgeneration %}";
        let messages = [ChatMessage::new(Role::User, " one "), ChatMessage::new(Role::Assistant, "two\n")];
        assert_eq!(template(source).render(&messages, &[]).unwrap(), "two|ASSISTANT;one|USER;none");
    }

    #[test]
    fn arguments_of_earlier_calls_are_objects() {
        let source =
            "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments.town }}{% endfor %}{% endfor %}";
        let call = ToolCall { id: "1".into(), name: "weather".into(), arguments: r#"{"town": "Ulm"}"#.into() };
        let message = ChatMessage { tool_calls: vec![call], ..ChatMessage::new(Role::Assistant, "") };
        assert_eq!(template(source).render(&[message], &[]).unwrap(), "Ulm");
    }

    #[test]
    fn a_template_without_functions_gets_them_in_words_and_refusals_keep_their_reason() {
        let plain = template("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}");
        let text = plain.render(&[ChatMessage::new(Role::User, "hi")], &[weather()]).unwrap();
        assert!(text.starts_with("[system]You may call") && text.ends_with("</tool_call>[user]hi"), "{text}");
        let refusing = template("{{ raise_exception('roles must alternate') }}");
        assert!(refusing.render(&[], &[]).unwrap_err().to_string().contains("roles must alternate"));
    }
}
