//! The shipped units: systemd understands every line of them, and the sandbox is as tight as promised.
//!
//! `systemd-analyze verify` ends with 0 even for a key it does not know, so anything on standard error fails here.
//! Without systemd-analyze the tests say that they were skipped; with `CI` set they fail instead.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Highest exposure that `rosterd.service` may have, times ten as `--threshold` takes it.
const EXPOSURE_MAX_X10: &str = "12";

/// The same of `rosterd-install.service`, which runs as root: 0.4 of its 1.0 are for that.
const INSTALL_EXPOSURE_MAX_X10: &str = "11";

/// What is shipped.
const UNITS: [&str; 4] =
    ["rosterd.service", "rosterd.socket", "rosterd-install.service", "rosterd-install.socket"];

fn systemd() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "systemd-analyze cannot be run: {error}; install systemd"
            );
            eprintln!("SKIPPED: systemd-analyze cannot be run: {error}");
            None
        }
    }
}

/// A folder with the units, whose commands name a program that exists, since `verify` looks for it.
fn staged(drop_in: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for unit in UNITS {
        let text = std::fs::read_to_string(systemd().join(unit)).expect("the unit");
        std::fs::write(folder.path().join(unit), text.replace("/usr/bin/rosterd", "/bin/true"))
            .expect("written");
    }
    if let Some(name) = drop_in {
        let unit = if name.starts_with("install-") { "rosterd-install.service" } else { "rosterd.service" };
        let drop_ins = folder.path().join(format!("{unit}.d"));
        std::fs::create_dir(&drop_ins).expect("a folder");
        std::fs::copy(systemd().join("examples").join(name), drop_ins.join(name)).expect("copied");
    }
    folder
}

fn verify(folder: &Path) -> Option<Output> {
    let unit = |name: &str| folder.join(name).display().to_string();
    let units = UNITS.map(unit);
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(units.iter().map(String::as_str));
    analyze(&arguments)
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let folder = staged(None);
    let Some(output) = verify(folder.path()) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_misspelt_directive_would_be_noticed() {
    let folder = staged(None);
    let path = folder.path().join("rosterd.service");
    let text = std::fs::read_to_string(&path).expect("the unit");
    std::fs::write(&path, text.replace("PrivateTmp=", "PrivateTemp=")).expect("written");
    let Some(output) = verify(folder.path()) else { return };
    assert!(String::from_utf8_lossy(&output.stderr).contains("PrivateTemp"));
}

#[test]
fn systemd_understands_every_example_drop_in() {
    for entry in std::fs::read_dir(systemd().join("examples")).expect("the examples") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let folder = staged(Some(&name));
        let Some(output) = verify(folder.path()) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        // Known from 253 on; that older ones do not know it is why it is an example.
        let is_news = name == "notify-reload.conf" && said.contains("notify-reload");
        assert!(said.is_empty() || is_news, "{name}: {said}");
    }
}

#[test]
fn the_exposure_stays_below_the_gate() {
    for (unit, most) in
        [("rosterd.service", EXPOSURE_MAX_X10), ("rosterd-install.service", INSTALL_EXPOSURE_MAX_X10)]
    {
        let unit = systemd().join(unit);
        let threshold = format!("--threshold={most}");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold, &unit.display().to_string()];
        let Some(output) = analyze(&arguments) else { return };
        let report = String::from_utf8_lossy(&output.stdout);
        let total = report.lines().last().unwrap_or_default();
        println!("{total}");
        assert!(output.status.success(), "{report}");
    }
}

#[test]
fn the_installer_has_one_power_and_no_network() {
    let text = std::fs::read_to_string(systemd().join("rosterd-install.service")).expect("the unit");
    for line in [
        "CapabilityBoundingSet=CAP_CHOWN",
        "NoNewPrivileges=yes",
        "PrivateNetwork=yes",
        "ProtectSystem=strict",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}");
    }
    assert!(!text.contains("\nReadWritePaths="), "what it may write to is each operator's drop-in");
    let socket = std::fs::read_to_string(systemd().join("rosterd-install.socket")).expect("the unit");
    for line in ["SocketUser=root", "SocketGroup=rosterd", "SocketMode=0660"] {
        assert!(socket.lines().any(|one| one == line), "{line}");
    }
}

#[test]
fn restart_is_prevented_for_exactly_the_codes_a_restart_cannot_mend() {
    let text = std::fs::read_to_string(systemd().join("rosterd.service")).expect("the unit");
    assert!(text.lines().any(|line| line == "RestartPreventExitStatus=64 65 66 77 78"));
    assert!(text.lines().any(|line| line == "StartLimitIntervalSec=0"));
}
