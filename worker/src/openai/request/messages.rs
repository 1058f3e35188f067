//! Messages of a conversation.

use super::body::Message;
use super::json::{List, Object};
use super::limits;
use crate::openai::ApiError;
use crate::text::ChatMessage;

/// Checks messages.
pub(super) fn checked<const N: usize>(
    messages: Option<List<Object<Message>, N>>,
) -> Result<Vec<ChatMessage>, ApiError> {
    let List(messages) = messages.ok_or_else(|| ApiError::invalid("messages", "\"messages\" is missing."))?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "\"messages\" is empty: there must be at least one."));
    }
    messages.into_iter().enumerate().map(|(index, Object(message))| message.checked(index)).collect()
}

impl Message {
    fn checked(self, index: usize) -> Result<ChatMessage, ApiError> {
        let param = |field: &str| format!("messages[{index}].{field}");
        let invalid = |field: &str, message: &str| Err(ApiError::invalid(param(field), message));
        let Some(role) = self.role else {
            return invalid("role", "The message has no role.");
        };
        let role = match role.as_str() {
            "system" | "user" | "assistant" => role,
            // Templates know the older name only.
            "developer" => "system".to_owned(),
            "tool" | "function" => {
                let message = format!("Messages of the role {role:?} are not supported yet.");
                return Err(ApiError::unsupported(param("role"), message));
            }
            _ => return invalid("role", "The role must be system, developer, user or assistant."),
        };
        let unsupported =
            [("tool_calls", self.tool_calls), ("function_call", self.function_call), ("audio", self.audio)];
        for (field, given) in unsupported {
            if given.is_some_and(|given| !given.0) {
                return Err(ApiError::unsupported(param(field), format!("{field:?} is not supported yet.")));
            }
        }
        let Some(content) = self.content else {
            return invalid(
                "content",
                "The message has no content: it must be a string or a list of text parts.",
            );
        };
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > limits::NAME) {
            return invalid("name", "The name must have 1 to 256 bytes.");
        }
        Ok(ChatMessage { role, content: content.0, name: self.name })
    }
}
