//! Hides what looks like a secret in a file that is shown to people. Pure. It rather hides too much: the file itself
//! is there for those who may read it.

use std::sync::LazyLock;

use regex::Regex;

/// What stands where something was hidden.
pub(crate) const MASK: &str = "••••••";

/// Each with the part that stays as its first group.
const PATTERNS: [&str; 8] = [
    // `password = "x"`, `"api_key": "x"`; lists and objects are looked into line by line.
    r#"(?i)(["']?[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credential)[\w.-]*["']?\s*[:=]\s*)(?:"[^"]+"|'[^']+'|[^\s,;\[\]{}"'][^\s,;\[\]{}"']*)"#,
    // Password hashes: crypt(3) and argon2, LDAP, PostgreSQL.
    r"()\$(?:1|2[abxy]?|5|6|7|y|gy|argon2(?:id|i|d))\$[./A-Za-z0-9$=,+-]{8,}",
    r"(\{(?i:S?SHA\d*|S?MD5|CRYPT|PBKDF2[^}]*)\})[A-Za-z0-9+/=$.]{8,}",
    r"(SCRAM-SHA-(?:1|256)\$)[0-9]+:[A-Za-z0-9+/=:$]+",
    r"\b(md5)[0-9a-f]{32}\b",
    // Tokens: ours, Standard Webhooks', JWT, the bearer of a header.
    r"\b(rosterd_|whsec_|eyJ)[A-Za-z0-9_+/=.-]{12,}",
    r"(?i)\b(bearer\s+|basic\s+)[A-Za-z0-9._~+/=-]{12,}",
    // `scheme://user:password@host`
    r"(://[^/\s:@]*:)[^@\s/]+@",
];

static RULES: LazyLock<Vec<Regex>> =
    LazyLock::new(|| PATTERNS.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect());

/// The lines with what looks like a secret hidden, and in how many of them something was.
pub(crate) fn masked<'a>(lines: impl Iterator<Item = &'a str>) -> (Vec<String>, u64) {
    let (mut shown, mut count, mut in_key) = (Vec::new(), 0_u64, false);
    for line in lines {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        let ends = line.contains("-----END ");
        if in_key && !ends {
            shown.push(MASK.to_owned());
            continue;
        }
        in_key = begins && !ends;
        let mut text = std::borrow::Cow::Borrowed(line);
        for rule in RULES.iter() {
            let changed = rule.replace_all(&text, |found: &regex::Captures<'_>| hidden(found)).into_owned();
            if changed != *text {
                text = changed.into();
            }
        }
        let hidden = begins || matches!(text, std::borrow::Cow::Owned(_));
        count = count.saturating_add(u64::from(hidden));
        shown.push(text.into_owned());
    }
    (shown, count)
}

/// What is left of a match. The tags of a sudoers file say `PASSWD:` and mean no secret.
fn hidden(found: &regex::Captures<'_>) -> String {
    let (whole, key) =
        (found.get(0).map_or("", |one| one.as_str()), found.get(1).map_or("", |one| one.as_str()));
    if matches!(key.trim(), "NOPASSWD:" | "PASSWD:") { whole.to_owned() } else { format!("{key}{MASK}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        masked(std::iter::once(line)).0.join("\n")
    }

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(RULES.len(), PATTERNS.len());
    }

    #[test]
    fn secrets_are_hidden() {
        for line in [
            "password = \"hunter2hunter2\"",
            "  \"api_key\": \"hunter2hunter2\",",
            "DB_PASSWORD=hunter2hunter2",
            "alice:$6$rounds=5000$saltsalt$hunter2hunter2:19000:0:",
            "userPassword: {SSHA}hunter2hunter2",
            "ALTER ROLE a PASSWORD 'SCRAM-SHA-256$4096:hunter2hunter2$a:b'",
            "url = postgres://app:hunter2hunter2@db/x",
            "authorization: Bearer hunter2hunter2hunter2",
        ] {
            let shown = one(line);
            assert!(!shown.contains("hunter2") && shown.contains(MASK), "{shown}");
        }
        let token = format!("x rosterd_{} y", "a".repeat(36));
        assert_eq!(one(&token), format!("x rosterd_{MASK} y"));
        let pem = ["-----BEGIN PRIVATE KEY-----", "MIIEhunter2", "-----END PRIVATE KEY-----", "after"];
        let (lines, count) = masked(pem.into_iter());
        assert_eq!((lines[1].as_str(), lines[3].as_str(), count), (MASK, "after", 1));
    }

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "  \"userName\": \"alice@example.com\",",
            "%wheel ALL=(ALL) NOPASSWD: ALL",
            "\"token-admins\": [",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample alice",
            "",
        ] {
            assert_eq!(one(line), line);
        }
    }
}
