//! Names that mean a Unix account or group to the machine that reads them, and those that are taken there.

/// Accounts and groups that an operating system, its packages or its images bring along, and words that readers of
/// account files know; sorted. Whoever an identity provider calls so is refused where the name has local power.
const TAKEN: &[&str] = &[
    "adm",
    "admin",
    "all",
    "apache",
    "audio",
    "avahi",
    "backup",
    "bin",
    "bluetooth",
    "cdrom",
    "centos",
    "chrony",
    "cloud-user",
    "crontab",
    "daemon",
    "dbus",
    "debian",
    "default",
    "dialout",
    "dip",
    "disk",
    "docker",
    "ec2-user",
    "except",
    "fax",
    "fedora",
    "floppy",
    "ftp",
    "games",
    "gdm",
    "gnats",
    "halt",
    "haproxy",
    "http",
    "input",
    "irc",
    "kmem",
    "kvm",
    "libvirt",
    "lightdm",
    "list",
    "local",
    "lp",
    "lxd",
    "mail",
    "man",
    "memcache",
    "messagebus",
    "mysql",
    "named",
    "netdev",
    "news",
    "nginx",
    "nobody",
    "nogroup",
    "none",
    "ntp",
    "operator",
    "pi",
    "plugdev",
    "polkitd",
    "postfix",
    "postgres",
    "proxy",
    "redis",
    "render",
    "root",
    "rosterd",
    "rpc",
    "sasl",
    "sgx",
    "shadow",
    "shutdown",
    "src",
    "ssh",
    "sshd",
    "ssl-cert",
    "staff",
    "sudo",
    "sync",
    "sys",
    "tape",
    "tcpdump",
    "toor",
    "tss",
    "tty",
    "ubuntu",
    "users",
    "utmp",
    "uucp",
    "vagrant",
    "video",
    "voice",
    "wheel",
    "www-data",
    "www-run",
];

/// Why a text is no name for an account here.
pub(super) type Refused = &'static str;

/// Refuses what the system that reads the file knows as its own, in any letter case.
pub(super) fn not_taken(name: &str) -> Result<(), Refused> {
    let folded = name.to_ascii_lowercase();
    let is_service = folded.starts_with("systemd-") || folded.starts_with('_');
    if is_service || TAKEN.binary_search(&folded.as_str()).is_ok() {
        return Err("the name belongs to a system account, a system group or a keyword");
    }
    Ok(())
}

/// Whether the text can name an account or group anywhere: `[a-z_][a-z0-9_-]*`, 32 bytes at most.
pub(super) fn is_plain(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(is_inner)
}

/// An account's name that nobody else owns.
pub(super) fn account(name: &str) -> Result<String, Refused> {
    if !is_plain(name) {
        return Err("not an account name: lower-case letters, digits, _ and -, a letter first, 32 at most");
    }
    not_taken(name)?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_system_are_refused_in_any_letter_case() {
        assert!(TAKEN.windows(2).all(|pair| pair[0] < pair[1]));
        for taken in ["root", "Root", "ALL", "EXCEPT", "wheel", "postgres", "_apt", "systemd-resolve", "sudo"]
        {
            assert!(not_taken(taken).is_err(), "{taken}");
        }
        assert!(not_taken("alice").is_ok() && not_taken("roots").is_ok());
    }

    #[test]
    fn accounts_are_plain_words() {
        assert_eq!(account("bob_1-x").as_deref(), Ok("bob_1-x"));
        let long = "a".repeat(33);
        for bad in [
            "", "Bob", "1bob", "-bob", "b b", "a,b", "a:b", "x@y", "é", "(x)", "#1", "+x", "..", "a/b", &long,
        ] {
            assert!(account(bad).is_err(), "{bad:?}");
        }
    }
}
