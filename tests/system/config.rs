//! Settings from flags, variables and a file: which one counts, what is shown, what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::node::{MASTER_KEY, Site};

/// A node that has a settings file.
fn with_file(text: &str) -> (Site, String) {
    let site = Site::bare("proxy");
    let path = site.data().with_file_name("madbase.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (site, path.display().to_string())
}

fn run(site: &Site, args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let output = site.command(args).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file_and_that_over_the_default() {
    let text =
        "port = 1001\nbase-domain = 'file.example'\ndrain-delay = 5\nredis-url = 'redis://:sesame@r'\n";
    let (site, file) = with_file(text);
    let variables = [
        ("MADBASE_PORT", "1002"),
        ("MADBASE_BASE_DOMAIN", "variable.example"),
        ("MADBASE_BIND", ""),
        ("DATABASE_URL", "postgres://ada:sesame@db/app"),
    ];
    let args = ["config", "--json", "show", "proxy", "--config", &file, "--port", "1003"];
    let (code, text) = run(&site, &args, &variables);
    assert_eq!(code, 0);
    assert!(!text.contains("sesame"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let setting = |key: &str| {
        let all = shown["settings"].as_array().unwrap();
        let found = all.iter().find(|it| it["key"] == key).unwrap_or_else(|| panic!("{key}: {shown}"));
        (found["value"].clone(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("port"), (json!("1003"), "flag --port".into()));
    assert_eq!(setting("base-domain"), (json!("variable.example"), "variable MADBASE_BASE_DOMAIN".into()));
    assert_eq!(setting("drain-delay"), (json!("5"), format!("file {file}")));
    assert_eq!(setting("bind"), (json!("127.0.0.1"), "default".into()), "an empty variable is unset");
    assert_eq!(setting("database-url"), (json!("(hidden)"), "variable DATABASE_URL".into()));
    assert_eq!(setting("redis-url"), (json!("(hidden)"), format!("file {file}")));
    assert_eq!(setting("master-key"), (Value::Null, "default".into()));
}

#[test]
fn a_check_tells_all_problems_at_once() {
    let (site, file) = with_file("prot = 1\nbind = 'here'\nworker-upstream-urls = ['nope']\n");
    let variables = [
        ("MADBASE_DRAIN_DELAY", "soon"),
        ("REDIS_URL", "nope"),
        ("MADBASE_MASTER_KEY", "short"),
        ("MADBASE_LOG", "a=b=c"),
    ];
    let (code, text) = run(&site, &["config", "--json", "check", "proxy", "--config", &file], &variables);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&text).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let expected = [
        "there is no setting prot; did you mean port?",
        "bind: ",
        "worker-upstream-urls: `nope` is no address of a worker",
        "MADBASE_DRAIN_DELAY: ",
        "DATABASE_URL is not set",
        "REDIS_URL: ",
        "MADBASE_MASTER_KEY: ",
        "MADBASE_LOG: ",
    ];
    for part in expected {
        assert!(problems.iter().any(|it| it.as_str().unwrap().contains(part)), "{part}: {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");

    let (site, file) = with_file("port = 9000\ndatabase-url = 'postgres://ada@db/app'\n");
    let (code, text) = run(&site, &["config", "check", "worker", "--config", &file], &[]);
    assert_eq!((code, text.as_str()), (0, "the settings of worker are sound\n"));
}

#[test]
fn a_role_takes_its_settings_from_the_file_and_refuses_a_wrong_one() {
    let (mut site, file) = with_file("prot = 1\nbind = 'here'\n");
    site.flags = vec!["--config".into(), file];
    let (code, message) = site.refusal();
    assert_eq!(code, 1);
    assert!(message.contains("did you mean port?") && message.contains("bind: "), "{message}");
    // The file's DATABASE_URL counts: nobody answers there.
    let (mut site, file) = with_file("wait = 0\ndatabase-url = 'postgres://ada@127.0.0.1:1/app'\n");
    site.flags = vec!["--config".into(), file];
    site.variables.push(("MADBASE_MASTER_KEY", MASTER_KEY.into()));
    let (_, message) = site.refusal();
    assert!(message.contains("read the control database"), "{message}");
}
