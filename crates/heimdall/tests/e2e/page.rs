//! The web app in the binary, and what people keep of it.

use serde_json::json;

use crate::{heimdall, server};

#[test]
fn the_binary_has_a_page_and_everything_the_page_loads() {
    let server = server().start();
    let page = server.request("GET", "/explore", &[("accept", "text/html")], "");
    let text = page.text();
    assert_eq!(page.status, 200, "{text}");
    assert!(text.contains("<title>Heimdall</title>") && !text.contains("__CSP_NONCE__"), "{text}");
    let loaded =
        |part: &&str| part.starts_with("/assets/") || part.ends_with(".js") || part.ends_with(".svg");
    for link in text.split(['"', '\'']).filter(loaded) {
        assert_eq!(server.get(link).status, 200, "{link}");
    }
}

#[test]
fn a_dashboard_goes_into_a_file_and_back() {
    let mut server = server().start();
    let url = server.url("");
    let dashboards = |args: &[&str]| heimdall(["dashboards", "--url", &url]).args(args.iter().copied());
    let exported = dashboards(&["export", "sla-metrics"]).run().expect(0).stdout;
    let id = dashboards(&["import", "-"]).stdin(exported.clone()).run().expect(0).stdout.trim().to_owned();
    let again = dashboards(&["export", &id]).run().expect(0).stdout;
    assert_eq!(again, exported);

    let mut file: serde_json::Value = serde_json::from_str(&exported).expect("JSON");
    file["title"] = json!("Ours");
    let _ = dashboards(&["import", "--replace", &id, "-"]).stdin(file.to_string()).run().expect(0);
    server.restart();
    let url = server.url("");
    let listed =
        heimdall(["dashboards", "list", "ours", "--json", "--url", &url]).run().expect(0).json_lines();
    assert_eq!((listed.len(), &listed[0]["title"], &listed[0]["revision"]), (1, &json!("Ours"), &json!(2)));

    let refused = heimdall(["dashboards", "import", "--replace", "sla-metrics", "-", "--url", &url]);
    let refused = refused.stdin(file.to_string()).run().expect(1);
    assert!(refused.stderr.contains("[built_in]"), "{}", refused.stderr);
}
