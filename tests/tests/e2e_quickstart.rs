//! The gateway without any config: what a newcomer sees in the first minute.

use gateway_tests::bayeux::{Client, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::lab::tests_dir;
use gateway_tests::node;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_config_it_serves_an_echo_and_a_page_and_says_what_to_try() {
    let gateway = Gateway::quickstart();

    let (status, page) = gateway.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("<html") && page.contains("</html>"), "a whole page: {page}");

    let mut client = Client::websocket(&gateway.url()).await;
    let reply = client.call("/service/echo", r#"{"hello":"world"}"#).await;
    assert_eq!((reply.successful, reply.text()), (Some(true), r#"{"hello":"world"}"#));

    // Channels that nobody configured are plain Bayeux.
    client.subscribe("/anything/at/all").await;
    assert!(answer(client.publish("/anything/at/all", r#""hi""#)).await.ok());
    assert_eq!(client.next().await.text(), r#""hi""#);

    let log = gateway.log();
    assert!(log.contains(&gateway.base()), "it prints where it is: {log}");
    assert!(log.contains("curl"), "and a line to try: {log}");
}

#[test]
fn the_curl_line_that_it_prints_works() {
    let gateway = Gateway::quickstart();
    let log = gateway.log();
    let lines = log.lines().map(str::trim).skip_while(|line| !line.starts_with("curl "));
    let mut line = String::new();
    for part in lines {
        line.push_str(part);
        line.push('\n');
        if !part.ends_with('\\') {
            break; // it may go over several lines
        }
    }
    assert!(line.starts_with("curl "), "a curl line: {log}");
    let output = std::process::Command::new("bash").args(["-c", &line]).output().expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(r#""successful":true"#), "{line} answered {printed}");
}

#[test]
fn the_demo_page_works_in_a_real_browser() {
    let gateway = Gateway::quickstart();
    let out = tests_dir().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let seen = node::run("page.mjs", &[&gateway.base(), out.to_str().unwrap()]);

    assert_eq!(seen["first"]["transport"], "websocket", "{seen}");
    assert_eq!(seen["second"]["transport"], "long-polling", "{seen}");
    for visit in [&seen["first"], &seen["second"]] {
        assert_eq!(visit["state"], "connected", "{visit}");
        assert_eq!(visit["problem"], "", "{visit}");
        assert!(visit["answer"].as_str().unwrap().contains("42"), "the echo's answer is shown: {visit}");
        assert!(visit["ticks"].as_u64().unwrap() >= 2, "the feed ticks: {visit}");
        assert_eq!(visit["published"], true, "what is published is shown: {visit}");
        assert!(visit["latency"].as_f64().unwrap() > 0.0, "the call shows how long it took: {visit}");
    }
    assert_eq!((&seen["first"]["sockets"], &seen["first"]["posts"]), (&1.into(), &0.into()), "really a WebSocket");
    assert!(seen["second"]["posts"].as_u64().unwrap() > 3, "really long-polling: {seen}");
    assert_eq!(seen["overflow"], 0, "it fits a phone's screen");
    assert_eq!(seen["errors"], serde_json::json!([]), "the page complains of nothing");
    for screenshot in seen["screenshots"].as_array().unwrap() {
        let size = std::fs::metadata(screenshot.as_str().unwrap()).unwrap().len();
        assert!(size > 5000, "{screenshot} shows something");
    }
}
