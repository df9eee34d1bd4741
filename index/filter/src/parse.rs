//! From text to a filter, within bounds.

use serde_json::Value as Json;

use crate::{Comparison, Expression, Field, FilterError, Plain, Test, Value};

/// Reads a filter.
pub(crate) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.chars().count() > MOST_CHARACTERS {
        let message = format!("it is longer than {MOST_CHARACTERS} characters");
        return Err(FilterError { at: MOST_CHARACTERS, message });
    }
    let mut parser = Parser { text, at: 0, terms: 0 };
    let expression = parser.any(0)?;
    parser.blank();
    match parser.rest().is_empty() {
        true => Ok(expression),
        false => Err(parser.wrong("expected \"and\", \"or\" or the end")),
    }
}

/// Whether a name needs no backquotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    /// Tests read so far.
    terms: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut parts = vec![self.factor(depth)?];
        while self.word("and") {
            parts.push(self.factor(depth)?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if depth > MOST_DEPTH {
            return Err(self.wrong(&format!("it is nested deeper than {MOST_DEPTH}")));
        }
        if self.word("not") {
            return Ok(Expression::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.sign("(") {
            let inner = self.any(depth + 1)?;
            return if self.sign(")") { Ok(inner) } else { Err(self.wrong("expected \")\"")) };
        }
        self.terms += 1;
        if self.terms > MOST_TERMS {
            return Err(self.wrong(&format!("it has more than {MOST_TERMS} tests")));
        }
        let field = self.field()?;
        let test = self.test(&field)?;
        Ok(Expression::Test(field, test))
    }

    fn field(&mut self) -> Result<Field, FilterError> {
        self.blank();
        let start = self.at;
        let name = self.name()?;
        if let Some(plain) = Plain::ALL.into_iter().find(|plain| plain.name() == name) {
            return Ok(Field::Plain(plain));
        }
        if name == "metadata" {
            let mut path = Vec::new();
            while self.rest().starts_with('.') {
                self.at += 1;
                path.push(self.name()?.to_owned());
            }
            if path.is_empty() {
                return Err(self.wrong("metadata needs a name, such as metadata.topic"));
            }
            return Ok(Field::Metadata(path));
        }
        self.at = start;
        let known = "id, contributor, contributed_at, licence, source and metadata.NAME";
        Err(self.wrong(&format!("{name:?} is no field; there are {known} (try metadata.{name})")))
    }

    fn name(&mut self) -> Result<&'a str, FilterError> {
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix('`') {
            let end = quoted.find('`').ok_or_else(|| self.wrong("the backquote is not closed"))?;
            let name = &quoted[..end];
            let odd = |c: char| c.is_control() || "\"'\\".contains(c);
            if name.is_empty() || name.contains(odd) {
                return Err(self.wrong("a name in backquotes has no quotes, backslashes or control characters"));
            }
            self.at += end + 2;
            return Ok(name);
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("expected a field, such as contributor or metadata.topic"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn test(&mut self, field: &Field) -> Result<Test, FilterError> {
        if self.word("exists") {
            return Ok(Test::Exists);
        }
        if self.word("in") {
            if !self.sign("(") {
                return Err(self.wrong("expected \"(\" and values"));
            }
            let mut values = vec![self.value(field)?];
            while self.sign(",") {
                values.push(self.value(field)?);
            }
            if values.len() > MOST_TERMS {
                return Err(self.wrong(&format!("the list has more than {MOST_TERMS} values")));
            }
            return if self.sign(")") { Ok(Test::In(values)) } else { Err(self.wrong("expected \",\" or \")\"")) };
        }
        if self.word("contains") {
            return self.text(field, "contains").map(Test::Contains);
        }
        if self.word("starts_with") {
            return self.text(field, "starts_with").map(Test::StartsWith);
        }
        use Comparison as C;
        let signs = [
            ("!=", C::Unequal),
            ("<=", C::AtMost),
            (">=", C::AtLeast),
            ("=", C::Equal),
            ("<", C::Less),
            (">", C::Greater),
        ];
        for (sign, comparison) in signs {
            if self.sign(sign) {
                let value = self.value(field)?;
                let orders = !matches!(comparison, C::Equal | C::Unequal);
                if orders && matches!(value, Value::Bool(_)) {
                    return Err(self.wrong("true and false have no order; use = or !="));
                }
                return Ok(Test::Compare(comparison, value));
            }
        }
        Err(self.wrong("expected =, !=, <, <=, >, >=, in, contains, starts_with or exists"))
    }

    fn text(&mut self, field: &Field, test: &str) -> Result<String, FilterError> {
        match self.value(field)? {
            Value::Text(text) => Ok(text),
            Value::Number(_) | Value::Bool(_) => Err(self.wrong(&format!("{test} takes a text in double quotes"))),
        }
    }

    fn value(&mut self, field: &Field) -> Result<Value, FilterError> {
        self.blank();
        let rest = self.rest();
        let value = if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Json>();
            match stream.next() {
                Some(Ok(Json::String(text))) => {
                    self.at += stream.byte_offset();
                    Value::Text(text)
                }
                _ => return Err(self.wrong("the text is not closed, or has an escape that JSON does not know")),
            }
        } else if self.word("true") {
            Value::Bool(true)
        } else if self.word("false") {
            Value::Bool(false)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(rest.len());
            let number = rest[..end].parse::<f64>().ok().filter(|number| number.is_finite());
            let Some(number) = number else {
                return Err(self.wrong("expected a text in double quotes, a number, true or false"));
            };
            self.at += end;
            // A negative zero is zero, here as in the table.
            Value::Number(if number == 0.0 { 0.0 } else { number })
        };
        match (field, &value) {
            (Field::Plain(plain), Value::Number(_) | Value::Bool(_)) => {
                Err(self.wrong(&format!("{} is text; put the value in double quotes", plain.name())))
            }
            _ => Ok(value),
        }
    }

    /// Takes a word, if it is next and ends there.
    fn word(&mut self, word: &str) -> bool {
        self.blank();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || "_-.".contains(c));
        if ends {
            self.at += word.len();
        }
        ends
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.blank();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, message: &str) -> FilterError {
        FilterError { at: self.text[..self.at].chars().count() + 1, message: message.to_owned() }
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1
        && let Some(one) = parts.pop()
    {
        return one;
    }
    many(parts)
}

const MOST_CHARACTERS: usize = 4096;
const MOST_DEPTH: usize = 32;
const MOST_TERMS: usize = 200;
