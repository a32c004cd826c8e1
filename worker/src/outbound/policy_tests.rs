use super::*;

fn policy(rules: &[&str]) -> UrlPolicy {
    UrlPolicy::new(&rules.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn check(policy: &UrlPolicy, url: &str) -> Result<Reach, Refused> {
    policy.check(&url.parse().unwrap())
}

#[test]
fn without_rules_what_is_public_may_be_spoken_to() {
    let policy = policy(&[]);
    for url in [
        "https://site.example/in/42.json?a=b#c",
        "http://SITE.example:8080",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]/",
        // Names are checked once they are resolved.
        "http://localhost/",
    ] {
        assert_eq!(check(&policy, url), Ok(Reach::Public), "{url}");
    }
}

#[test]
fn addresses_of_the_inside_are_refused_however_they_are_written() {
    let rules_by_star = ["http://*.site.example/"];
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1:8000/in",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://0/",
        "http://%31%32%37.0.0.1/",
        "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.5/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http:127.0.0.1/",
        "http:\\\\127.0.0.1\\in",
    ] {
        assert!(
            matches!(check(&policy(&[]), url), Err(Refused::NotPublic { .. })),
            "{url}: {:?}",
            check(&policy(&[]), url)
        );
        assert_eq!(check(&policy(&rules_by_star), url), Err(Refused::NoRule), "{url}");
    }
}

#[test]
fn only_http_and_no_credentials() {
    for rules in [&[][..], &["http://127.0.0.1/", "https://site.example/"]] {
        let policy = policy(rules);
        for url in ["ftp://site.example/", "file:///etc/passwd", "data:,x", "ws://site.example/"] {
            assert!(matches!(check(&policy, url), Err(Refused::Scheme(_))), "{url}");
        }
        for url in [
            "http://site.example@127.0.0.1/",
            "https://user:password@site.example/",
            "https://:password@site.example/",
            "https://site.example:443@127.0.0.1/",
        ] {
            assert_eq!(check(&policy, url), Err(Refused::Credentials), "{url}");
        }
    }
}

#[test]
fn scheme_host_and_port_match_exactly_and_the_path_by_segments() {
    let policy =
        policy(&["https://site.example/in", "http://127.0.0.1:8000/data/", "http://[::1]/"]);
    for url in [
        "https://site.example/in",
        "https://site.example/in/",
        "https://site.example/in/42.json?x=../..",
        "https://site.example/in?token=1",
        "https://SITE.EXAMPLE:443/in/42",
        "https://site.example./in/42",
        "https://site.example/other/../in/42",
        "http://127.0.0.1:8000/data/42",
        "http://127.1:8000/data/42",
        "http://[::1]:80/anything",
        "http://[0:0::1]/anything",
    ] {
        assert_eq!(check(&policy, url), Ok(Reach::Anywhere), "{url}");
    }
    for url in [
        "http://site.example/in/42",
        "https://site.example:8443/in/42",
        "https://site.example/",
        "https://site.example/inside",
        "https://site.example/IN/42",
        "https://site.example/in/../out",
        "https://site.example/in/%2e%2e/out",
        "https://site.example/in/..%2fout",
        "https://site.example/in/..%5Cout",
        "https://site.example/in\\..\\out",
        "https://site.example/in/..;/out",
        "https://site.example.evil.example/in/42",
        "https://evil.example/https://site.example/in",
        "https://sub.site.example/in/42",
        "https://site.example../in/42",
        "http://127.0.0.1:8000/data",
        "http://127.0.0.1/data/42",
        "http://[::ffff:127.0.0.1]:8000/data/42",
        "http://[::2]/",
    ] {
        assert_eq!(check(&policy, url), Err(Refused::NoRule), "{url}");
    }
}

#[test]
fn a_star_stands_for_subdomains_and_reaches_public_addresses_only() {
    let policy = policy(&["https://*.site.example/"]);
    for url in ["https://a.site.example/", "https://a.b.Site.Example/x", "https://a.site.example./"]
    {
        assert_eq!(check(&policy, url), Ok(Reach::Public), "{url}");
    }
    for url in [
        "https://site.example/",
        "https://.site.example/",
        "https://asite.example/",
        "https://site.example.evil.example/",
        "http://a.site.example/",
    ] {
        assert_eq!(check(&policy, url), Err(Refused::NoRule), "{url}");
    }
}

#[test]
fn of_several_rules_the_one_that_names_the_host_counts() {
    let policy = policy(&["http://*.site.example/", "http://queue.site.example/in/"]);
    assert_eq!(check(&policy, "http://queue.site.example/in/1"), Ok(Reach::Anywhere));
    assert_eq!(check(&policy, "http://queue.site.example/out"), Ok(Reach::Public));
    assert_eq!(check(&policy, "http://web.site.example/in/1"), Ok(Reach::Public));
}

#[test]
fn what_is_no_rule_is_refused_and_says_why() {
    for (rule, why) in [
        ("", "beginning of a URL"),
        ("site.example", "beginning of a URL"),
        ("/in/", "beginning of a URL"),
        ("ftp://site.example/", "neither http nor https"),
        ("localhost:8000", "neither http nor https"),
        ("https://user@site.example/", "user name"),
        ("https://:password@site.example/", "user name"),
        ("https://@site.example/", "user name"),
        ("https://site.example/in?a=b", "query"),
        ("https://site.example/in?", "query"),
        ("https://site.example/in#a", "fragment"),
        ("https://site.example/in/*", "'*' in its path"),
        ("https://site.example/a%2Fb/", "encoded slash"),
        ("https://*/", "whole first part"),
        ("https://*./", "whole first part"),
        ("https://*.*.site.example/", "whole first part"),
        ("https://a*.site.example/", "whole first part"),
        ("https://*a.site.example/", "whole first part"),
        ("https://*.10.0.0.1/", "beginning of a URL"),
    ] {
        let error = UrlPolicy::new(&[rule.to_owned()]).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains(&format!("{rule:?}")), "{error}");
    }
}

#[test]
fn a_certificate_is_for_urls_with_its_prefix() {
    let for_certificate =
        |prefix| UrlPolicy::for_credentials("http.client_certificates: prefix", prefix, true);
    let rule = for_certificate("https://site.example/in/").unwrap();
    for (url, is_for_it) in [
        ("https://site.example/in/7", true),
        ("https://site.example:443/in/", true),
        ("https://site.example/inside", false),
        ("https://site.example/", false),
        ("https://site.example:444/in/7", false),
        ("https://other.example/in/7", false),
        ("http://site.example/in/7", false),
    ] {
        assert_eq!(rule.has_rule_for(&url.parse().unwrap()), is_for_it, "{url}");
    }
    let error = for_certificate("http://site.example/").unwrap_err().to_string();
    assert!(error.contains("http.client_certificates: prefix"), "{error}");
    assert!(for_certificate("https://user@site.example/").is_err());
}
