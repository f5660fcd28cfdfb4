use super::*;
use crate::standin::{Behaviour, KEY, StandIn};
use heimdall_model::ManualClock;

fn prompt() -> Prompt {
    Prompt {
        system: "be brief".to_owned(),
        user: "{\"records\":[{\"id\":\"r1\"}]}".to_owned(),
        schema: json!({"type": "object"}),
        max_output_tokens: 77,
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::parse("2026-11-27T09:00:00Z").unwrap()))
}

fn connect(config: &LlmConfig) -> Option<OpenAi> {
    // A second install, by another test, is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    OpenAi::connect(config, clock()).unwrap()
}

/// One attempt against a stand-in that behaves so.
async fn attempt(behaviour: Behaviour, timeout: Duration) -> (Result<Completion, ModelError>, StandIn) {
    let stand_in = StandIn::start(vec![behaviour]).await;
    let config = LlmConfig { timeout, ..stand_in.config() };
    let model = connect(&config).unwrap();
    (model.complete(&prompt()).await, stand_in)
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

fn raw(status: &'static str, headers: &'static str, body: &str) -> Behaviour {
    Behaviour::Raw(status, headers, body.to_owned())
}

#[tokio::test]
async fn a_question_is_asked_as_the_api_wants_it() {
    let (answer, stand_in) = attempt(Behaviour::Say("hello".to_owned()), LONG).await;
    let usage = Some(Usage { input_tokens: 300, output_tokens: 40 });
    assert_eq!(answer.unwrap(), Completion { text: "hello".to_owned(), usage });
    let request = &stand_in.received()[0];
    assert!(request.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", request.head);
    assert!(
        request.head.to_lowercase().contains(&format!("authorization: bearer {KEY}")),
        "{}",
        request.head
    );
    assert_eq!(
        request.body,
        json!({
            "model": "gpt-4o-mini", "max_tokens": 77, "temperature": 0.0, "response_format": {"type": "json_object"},
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": prompt().user}],
        })
    );
}

#[tokio::test]
async fn misbehaviour_is_told_apart() {
    let busy = |status, seconds: Option<u64>| ModelError::Busy {
        status,
        retry_after: seconds.map(Duration::from_secs),
    };
    let refused = |status, code| ModelError::Refused { status, code };
    let with_code =
        |code: &str| json!({"error": {"message": format!("bad key {KEY}"), "code": code}}).to_string();
    for (behaviour, timeout, expected) in [
        (Behaviour::Silent, SHORT, ModelError::Timeout),
        (Behaviour::Stuck, SHORT, ModelError::Timeout),
        (Behaviour::Close, LONG, ModelError::Broken),
        (Behaviour::Endless, LONG, ModelError::TooLarge),
        (raw("429 Slow", "Retry-After: 30\r\n", ""), LONG, busy(429, Some(30))),
        (raw("429 Slow", "retry-after-ms: 2000\r\n", ""), LONG, busy(429, Some(2))),
        (raw("503 Down", "Retry-After: Fri, 27 Nov 2026 09:01:30 GMT\r\n", ""), LONG, busy(503, Some(90))),
        (raw("503 Down", "Retry-After: Fri, 27 Nov 2026 08:00:00 GMT\r\n", ""), LONG, busy(503, Some(0))),
        (raw("429 Slow", "Retry-After: soon\r\n", ""), LONG, busy(429, None)),
        (raw("429 Slow", "Retry-After: -1\r\n", ""), LONG, busy(429, None)),
        (raw("500 Oops", "", "<html>"), LONG, busy(500, None)),
        (raw("429 No", "", &with_code("insufficient_quota")), LONG, refused(429, "insufficient_quota")),
        (raw("401 No", "", &with_code("invalid_api_key")), LONG, refused(401, "invalid_api_key")),
        (raw("400 No", "", &with_code(KEY)), LONG, refused(400, "")),
        (raw("302 Found", "Location: http://127.0.0.1:1/\r\n", ""), LONG, refused(302, "")),
        (raw("200 OK", "", "no json"), LONG, ModelError::Malformed("not a chat completion")),
        (raw("200 OK", "", "{\"choices\":[]}"), LONG, ModelError::Malformed("no choice")),
        (
            raw("200 OK", "", r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#),
            LONG,
            ModelError::Malformed("no content"),
        ),
        (
            raw("200 OK", "", r#"{"choices":[{"message":{"content":"{"},"finish_reason":"length"}]}"#),
            LONG,
            ModelError::CutOff,
        ),
    ] {
        let shown = format!("{behaviour:?}");
        let error = attempt(behaviour, timeout).await.0.unwrap_err();
        assert_eq!(error, expected, "{shown}");
        assert!(!format!("{error:?} {error}").contains(KEY), "{error:?}");
    }
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = LlmConfig { base_url: format!("http://{unused}"), ..LlmConfig::default() };
    assert_eq!(connect(&config).unwrap().complete(&prompt()).await, Err(ModelError::Unreachable));
}

#[tokio::test]
async fn servers_that_count_nothing_or_know_less_are_asked_too() {
    let answer = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":0}}"#;
    let stand_in = StandIn::start(vec![raw("200 OK", "", answer)]).await;
    let mut config = stand_in.config();
    (config.api_key, config.deterministic, config.answer_format) = (None, false, AnswerFormat::Text);
    let answer = connect(&config).unwrap().complete(&prompt()).await.unwrap();
    assert_eq!(answer, Completion { text: "x".to_owned(), usage: None });
    let request = &stand_in.received()[0];
    assert!(!request.head.to_lowercase().contains("authorization"), "{}", request.head);
    assert!(request.body.get("temperature").is_none() && request.body.get("response_format").is_none());
    config.answer_format = AnswerFormat::JsonSchema;
    connect(&config).unwrap().complete(&prompt()).await.unwrap();
    let body = &stand_in.received()[1].body;
    assert_eq!(body["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
}

#[test]
fn without_a_key_openai_is_not_asked_and_nothing_shows_the_key() {
    let mut config = LlmConfig::default();
    assert!(connect(&config).is_none());
    config.api_key = Some(ApiKey::parse(KEY).unwrap());
    let model = connect(&config).unwrap();
    assert_eq!((model.limit, model.name()), ("max_completion_tokens", "gpt-4o-mini"));
    assert!(!format!("{model:?} {:?} {:?}", config, model.body(&prompt())).contains(KEY));
}
