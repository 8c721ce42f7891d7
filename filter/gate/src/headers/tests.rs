use super::*;

fn headers<'a>(list: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a [u8])> {
    list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

#[test]
fn every_spelling_of_identity_is_removed() {
    for name in [
        "x-user-id",
        "X-User-Role",
        "x_user_id",
        "x-user_id",
        "x-user-",
        "x-user-anything",
        "x-cosygate-identity",
        "X_Cosygate_Identity",
        "x-user",
        "authorization",
        "Proxy-Authorization",
    ] {
        assert!(is_removed(name), "{name}");
    }
    for name in ["x-users", "user-id", "x-request-id", "accept", "x-usermode", "", "x", "cookie"] {
        assert!(!is_removed(name), "{name}");
    }
}

#[test]
fn exactly_one_credential() {
    let bearer = |value| {
        let list = headers(&[("authorization", value)]);
        let found = Seen::new(&list).credential()?;
        found.text().map(str::to_owned).ok_or_else(|| invalid("not a token"))
    };
    assert_eq!(bearer("Bearer a.b.c").unwrap(), "a.b.c");
    assert_eq!(bearer("bEARER a.b.c").unwrap(), "a.b.c");
    for refused in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  a",
        "Bearer a b",
        "Bearer a,b",
        "Bearer\ta",
        "Basic YTpi",
        "a.b.c",
        "Bearer a=",
    ] {
        assert_eq!(bearer(refused).unwrap_err().code, Code::TokenInvalid, "{refused:?}");
    }
    let code = |list: &[(&str, &str)]| Seen::new(&headers(list)).credential().unwrap_err().code;
    assert_eq!(code(&[]), Code::TokenMissing);
    assert_eq!(code(&[("cookie", "other=1; cosygatex=2")]), Code::TokenMissing);
    assert_eq!(code(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), Code::TokenInvalid);
    assert_eq!(code(&[("authorization", "Bearer a"), ("cookie", "cosygate=a")]), Code::TokenInvalid);
    assert_eq!(code(&[("cookie", "cosygate=a; cosygate=a")]), Code::TokenInvalid);
    assert_eq!(code(&[("cookie", "cosygate=a"), ("cookie", "cosygate=b")]), Code::TokenInvalid);
    let with_cookie = headers(&[("cookie", "theme=dark; cosygate=a.b.c;x=y")]);
    assert_eq!(Seen::new(&with_cookie).credential().unwrap(), Credential { token: b"a.b.c", from_cookie: true });
    let left = |list: &[(&str, &str)]| Seen::new(&headers(list)).cookie_without_credential();
    assert_eq!(Seen::new(&with_cookie).cookie_without_credential().unwrap(), b"theme=dark; x=y");
    assert_eq!(left(&[("cookie", "cosygate=a")]).unwrap(), b"");
    assert_eq!(left(&[("cookie", "a=b")]), None);
}

#[test]
fn over_tls_only_the_cookie_of_this_very_host_counts() {
    let both = ("cookie", "cosygate=plain; __Host-cosygate=host");
    let token = |list: &[(&str, &str)]| {
        let list = headers(list);
        Seen::new(&list).credential().map(|credential| credential.text().unwrap_or_default().to_owned())
    };
    assert_eq!(token(&[both]).unwrap(), "plain");
    assert_eq!(token(&[both, ("x-forwarded-proto", "http")]).unwrap(), "plain");
    assert_eq!(token(&[both, ("x-forwarded-proto", "https")]).unwrap(), "host");
    for (cookie, proto, code) in [
        ("cosygate=a", "https", Code::TokenMissing),
        ("__Host-cosygate=a", "http", Code::TokenMissing),
        ("__host-cosygate=a", "https", Code::TokenMissing),
        ("__Host-cosygate=a; __Host-cosygate=a", "https", Code::TokenInvalid),
    ] {
        assert_eq!(token(&[("cookie", cookie), ("x-forwarded-proto", proto)]).unwrap_err().code, code, "{cookie}");
    }
    let all = "a=b; cosygate=1; __Host-cosygate=2; cosygate-refresh=3; __Host-cosygate-refresh=4; cosygate-x=5";
    let left = |path: &str, proto: &str| {
        let list = headers(&[(":path", path), ("cookie", all), ("x-forwarded-proto", proto)]);
        String::from_utf8(Seen::new(&list).cookie_without_credential().unwrap()).unwrap()
    };
    assert_eq!(left("/api/me", "https"), "a=b; cosygate-x=5");
    assert_eq!(left("/refresh/x", "http"), "a=b; cosygate-x=5");
    assert_eq!(left("/refresh", "http"), "a=b; cosygate-refresh=3; cosygate-x=5");
    assert_eq!(left("/logout?x", "https"), "a=b; __Host-cosygate-refresh=4; cosygate-x=5");
}

#[test]
fn a_cookie_works_only_from_the_page_itself() {
    let check = |list: &[(&str, &str)], method| {
        let all = [&[(":method", method), (":authority", "speech.example:8443")], list].concat();
        Seen::new(&headers(&all)).check_same_origin().is_ok()
    };
    assert!(check(&[], "GET"));
    assert!(check(&[("sec-fetch-site", "same-origin")], "POST"));
    assert!(check(&[("origin", "https://speech.example:8443")], "DELETE"));
    for refused in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://speech.example:8443")],
        &[("origin", "null")],
        &[("origin", "https://speech.example")],
        &[("origin", "https://speech.example:8443.evil.example")],
    ] {
        assert!(!check(refused, "POST"), "{refused:?}");
        assert!(!check(&[refused, &[("upgrade", "websocket")]].concat(), "GET"), "{refused:?}");
    }
}

#[test]
fn the_client_is_who_the_last_trusted_hop_saw() {
    let address = |value, trusted| {
        let list = headers(&[("x-forwarded-for", value)]);
        let seen = Seen::new(&list);
        seen.forwarded_for(trusted).map(str::to_owned)
    };
    assert_eq!(address("evil, 198.51.100.7, 10.0.0.2", 0).as_deref(), Some("10.0.0.2"));
    assert_eq!(address("evil, 198.51.100.7, 10.0.0.2", 1).as_deref(), Some("198.51.100.7"));
    assert_eq!(address("10.0.0.2", 1), None);
    let doubled = headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
    assert_eq!(Seen::new(&doubled).forwarded_for(0), None);
    assert!(Seen::new(&doubled).has_hops());
    assert!(!Seen::new(&headers(&[("x-forwarded-for", "1.1.1.1")])).has_hops());
}
