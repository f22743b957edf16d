//! What operators are told: one log line and two metrics for each request, and no secrets.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::World;

/// Everything that this process logged, of all tests.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn listen() -> &'static (Lines, PrometheusHandle) {
    static EARS: OnceLock<(Lines, PrometheusHandle)> = OnceLock::new();
    EARS.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(writer).init();
        (lines, PrometheusBuilder::new().install_recorder().unwrap())
    })
}

#[tokio::test]
async fn a_request_is_one_line_without_secrets() {
    let (lines, _) = listen();
    let world = World::new().await;
    let path = "/rest/v1/private_table?apikey=sb_publishable_default&email=eq.ada@example.com";
    let request = world
        .client
        .post(world.url(path))
        .header("x-request-id", "the-only-one")
        .header("authorization", "Bearer sb_secret_default")
        .body("{\"secret\":\"body\"}");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let all = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ours: Vec<&str> = all.lines().filter(|it| it.contains("the-only-one")).collect();
    let [line] = ours.as_slice() else { panic!("{ours:#?}") };
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "INFO");
    let mut fields = line["fields"].as_object().unwrap().clone();
    assert!(fields.remove("duration_ms").unwrap().as_f64().unwrap() > 0.0);
    insta::assert_snapshot!(serde_json::to_string(&fields).unwrap(), @r#"{"message":"answered","method":"POST","project.id":"default","request.id":"the-only-one","route":"/rest/v1","status":200}"#);
    let gateway = all.lines().filter(|it| it.contains("\"target\":\"gateway"));
    for secret in ["sb_publishable", "sb_secret", "ada@example.com", "private_table", "\"secret\"", "eyJ"] {
        assert!(!gateway.clone().any(|it| it.contains(secret)), "{secret} is in the log");
    }
}

#[tokio::test]
async fn requests_are_counted_by_bounded_labels() {
    let (_, metrics) = listen();
    let world = World::new().await;
    for method in ["INVENTED", "ANOTHER"] {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let request =
            world.client.request(method, world.url("/rest/v1/x")).header("apikey", "sb_secret_default");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let text = metrics.render();
    let series = |labels: &str| text.lines().any(|it| it.starts_with(labels));
    let labels = r#"{service="data_api",method="other",status="2xx""#;
    assert!(series(&format!("madbase_http_requests_total{labels}")), "{text}");
    assert!(series(&format!("madbase_http_request_duration_seconds{labels}")), "{text}");
    assert!(!text.contains("INVENTED"), "{text}");
}
