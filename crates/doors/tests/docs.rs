//! The configurations that the pages of doors show can be read.

use heimdall_doors::DoorsConfig;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "that it can be read is all that is asked")]
    doors: DoorsConfig,
}

#[test]
fn what_the_pages_show_can_be_read() {
    let pages = [
        include_str!("../../../docs/doors/docker.md"),
        include_str!("../../../docs/doors/fluent.md"),
        include_str!("../../../docs/doors/lumberjack.md"),
        include_str!("../../../docs/doors/mqtt.md"),
        include_str!("../../../docs/doors/statsd.md"),
    ];
    for page in pages {
        let mut blocks =
            page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
        assert!(blocks.clone().count() > 0);
        assert!(blocks.all(|block| match toml::from_str::<File>(block) {
            Ok(_) => true,
            Err(error) => panic!("{error}\n{block}"),
        }));
    }
}
