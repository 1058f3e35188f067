//! Chat templates: messages to the text that the model was trained on.

use std::io::{self, Write};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::error::TextError;
use super::strftime::strftime_now;

/// Instructions, and units of 64 bytes of data, that one rendering may spend.
const FUEL: u64 = 4_000_000;
/// Bytes of text that one rendering may write.
const MAX_OUTPUT: usize = 32 << 20;
/// Bytes of a template.
const MAX_SOURCE: usize = 1 << 20;

/// A model's chat template, with the texts of the tokens that it names.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: Vec<(&'static str, String)>,
}

/// Why messages could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template itself refused them.
    #[error("{0}")]
    Refused(String),
    /// The template failed or went beyond its limits.
    #[error("the model's chat template failed")]
    Failed(#[source] Error),
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`, which comes from `path`. `tokens` are variables such as `bos_token`.
    ///
    /// # Errors
    /// When it is no template.
    pub fn new(source: String, tokens: Vec<(&'static str, String)>, path: &Path) -> Result<Self, TextError> {
        let compile_error = |source| TextError::Template { path: path.into(), source };
        if source.len() > MAX_SOURCE {
            let what = format!("has {} bytes, at most {MAX_SOURCE} are allowed", source.len());
            return Err(TextError::Field { path: path.into(), field: "chat_template".into(), what });
        }
        let mut environment = Environment::new();
        // As Hugging Face's `apply_chat_template` sets up Jinja.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(compile_error)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: &str| strftime_now(format));
        environment.add_template_owned(NAME, source).map_err(compile_error)?;
        Ok(Self { environment, tokens })
    }

    /// Renders `messages` (a list of maps with `role` and `content`), followed by the beginning of the reply with
    /// `add_generation_prompt`.
    ///
    /// # Errors
    /// When the template refuses the messages, fails, or spends more than it may.
    pub fn render(&self, messages: Value, add_generation_prompt: bool) -> Result<String, TemplateError> {
        let tokens = Value::from_pairs(self.tokens.iter().map(|(name, token)| (*name, token.as_str())));
        let variables = context! { messages, add_generation_prompt, tools => (), documents => (), ..tokens };
        let template = self.environment.get_template(NAME).map_err(TemplateError::Failed)?;
        let mut output = Capped(Vec::new());
        template.render_captured_to(variables, &mut output).map_err(refusal)?;
        String::from_utf8(output.0).map_err(|error| {
            let error = Error::new(ErrorKind::BadSerialization, "the output is not UTF-8").with_source(error);
            TemplateError::Failed(error)
        })
    }
}

/// Marks errors that the template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: &str) -> Result<Value, Error> {
    let raised = Raised(message.chars().take(300).collect());
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the chat template").with_source(raised))
}

fn refusal(error: Error) -> TemplateError {
    let raised = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Raised>());
    match raised {
        Some(Raised(message)) => TemplateError::Refused(message.clone()),
        None => TemplateError::Failed(error),
    }
}

/// Output that may not grow for ever.
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("the output exceeds {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let tokens = vec![("bos_token", "<s>".to_owned())];
        ChatTemplate::new(source.to_owned(), tokens, Path::new("test")).unwrap()
    }

    fn messages() -> Value {
        let message = Value::from_pairs([("role", "user"), ("content", " hi ")]);
        Value::from(vec![message])
    }

    #[test]
    fn python_methods_blocks_and_tokens_work() {
        let template = template(
            "{{ bos_token }}\n{%- for message in messages %}\n{% if message['content'].strip().startswith('h') %}\n\
             [{{ message.role | upper }}]{{ message['content'].strip() }}\n{% endif %}\n{% endfor %}\n\
             {% if add_generation_prompt and tools is none %}>{% endif %}",
        );
        assert_eq!(template.render(messages(), true).unwrap(), "<s>[USER]hi\n>");
    }

    #[test]
    fn a_raised_exception_is_a_refusal() {
        let error = template("{{ raise_exception('roles must alternate') }}").render(messages(), true);
        assert!(matches!(error, Err(TemplateError::Refused(message)) if message == "roles must alternate"));
    }

    #[test]
    fn loops_and_output_have_an_end() {
        for source in [
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
            "{% for a in range(9999) %}{{ 'x' * 99999999 }}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        ] {
            let error = template(source).render(messages(), true);
            assert!(matches!(error, Err(TemplateError::Failed(_))), "{source}");
        }
    }

    #[test]
    fn nothing_but_data_can_be_reached() {
        let rendered = template("{{ messages.__class__ }}").render(messages(), true);
        assert!(rendered.is_ok_and(|text| text.is_empty()));
        assert!(ChatTemplate::new("{% for".into(), vec![], Path::new("t")).is_err());
    }
}
