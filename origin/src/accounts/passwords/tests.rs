use super::*;

fn cheap(memory_kib: u32) -> Passwords {
    Passwords::new(&PasswordSettings { memory_kib, passes: 1, ..PasswordSettings::default() }).unwrap()
}

fn accepted(password: &str) -> bool {
    accept(password, "lovelace", 8).is_ok()
}

#[test]
fn passwords_are_counted_in_characters() {
    assert!(accepted("虎跃龙腾旭日东升"));
    assert!(!accepted("xq7#Lp2"));
    let longest: String = (0..256).map(|n| char::from(33 + (n * n % 89) as u8)).collect();
    assert!(accepted(&longest) && !accepted(&format!("{longest}x")));
    assert!(accept("correct horse", "ada", 15).is_err());
}

#[test]
fn what_is_guessed_first_is_refused() {
    for common in [
        "password",
        "Password1!",
        "12345678",
        "qwertyuiop",
        "letmein123",
        "iloveyou1",
        "trustno1!",
        "aaaaaaaaaaaa",
        "lovelace",
        "Lovelace1",
        "ecalevol",
        "cosygate1",
        "ｐａｓｓｗｏｒｄ",
        "P@ssw0rd",
        "19871987",
        "abcd1234",
    ] {
        assert!(!accepted(common), "{common}");
    }
    for good in ["correct horse", "correct horse battery", "a long enough one", "Xk4!mmpo"] {
        assert!(accepted(good), "{good}");
    }
}

#[tokio::test]
async fn only_the_right_password_of_somebody_matches() {
    let passwords = cheap(64);
    let hash = passwords.hash(passwords.accept("correct horse", "ada").unwrap()).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    assert!(passwords.verify("correct horse", Some(&hash)).await.unwrap());
    assert!(passwords.verify("ｃｏｒｒｅｃｔ horse", Some(&hash)).await.unwrap());
    assert!(!passwords.verify("wrong horse", Some(&hash)).await.unwrap());
    assert!(!passwords.verify("nobody has this password", None).await.unwrap());
}

#[tokio::test]
async fn a_hash_of_another_cost_is_renewed() {
    let (old, new) = (cheap(64), cheap(128));
    let hash = old.hash(old.accept("correct horse", "ada").unwrap()).await.unwrap();
    assert_eq!(old.renew("correct horse", &hash).await.unwrap(), None);
    let renewed = new.renew("correct horse", &hash).await.unwrap().unwrap();
    assert!(renewed.starts_with("$argon2id$v=19$m=128,t=1,p=1$"), "{renewed}");
    assert!(new.verify("correct horse", Some(&renewed)).await.unwrap());
    // An old one still opens.
    assert!(new.verify("correct horse", Some(&hash)).await.unwrap());
}

#[tokio::test]
async fn the_queue_has_an_end() {
    let passwords = cheap(64);
    let _all = Arc::clone(&passwords.present).try_acquire_many_owned(passwords.present.available_permits() as u32);
    let refused = passwords.verify("correct horse", None).await.unwrap_err();
    assert_eq!((refused.problem.code, refused.problem.retry_after_s), (gate::Code::Overloaded, Some(1)));
}

#[test]
fn settings_have_ranges() {
    let good = PasswordSettings::default();
    assert_eq!(good.validate(), Ok(()));
    for wrong in [
        PasswordSettings { length: 7, ..good.clone() },
        PasswordSettings { memory_kib: 1024, ..good.clone() },
        PasswordSettings { passes: 0, ..good },
    ] {
        assert!(wrong.validate().is_err());
    }
}
