//! What to do with a service that is ready.

/// The address with a command and a program to try.
pub(crate) fn banner(url: &str, model: &str) -> String {
    format!(
        r#"
AMPD serves {model} at {url}/v1

  curl {url}/v1/chat/completions -H 'content-type: application/json' \
    -H 'x-session-id: my-session' \
    -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"What is a session?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none", default_headers={{"x-session-id": "my-session"}})
  messages = [{{"role": "user", "content": "What is a session?"}}]
  print(client.chat.completions.create(model="{model}", messages=messages).choices[0].message.content)

Rounds that send the same x-session-id reuse the KV of the earlier ones. Ctrl-C stops everything.
"#
    )
}
