//! `rosterd completions` and `rosterd man`: both from the command tree.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{Error, Exit, Kind};
use super::output;

/// Arguments of `rosterd completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd completions bash > /usr/share/bash-completion/completions/rosterd\n  \
    rosterd completions fish > ~/.config/fish/completions/rosterd.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Arguments of `rosterd man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd man | man -l -\n  rosterd man > /usr/share/man/man8/rosterd.8")]
pub struct ManArgs {}

pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rosterd", &mut text);
    output::raw(&String::from_utf8_lossy(&text));
    Exit::Done
}

/// Only ASCII: what else there is in the way that every troff reads it.
fn plain(text: &str) -> String {
    let one = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(one).collect()
}

/// One page with every command in it, and the exit codes.
pub(super) fn man(_args: &ManArgs) -> Result<Exit, Error> {
    let text = page().map_err(|error| Error::new(Kind::Bug, format!("cannot write the page: {error}")))?;
    output::raw(&plain(&String::from_utf8_lossy(&text)));
    Ok(Exit::Done)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut root = Cli::command();
    root.build();
    let man = clap_mangen::Man::new(root.clone()).section("8");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut commands = Vec::new();
    collect(&root, &mut commands);
    for command in commands {
        // Each command's own sections, one level below its name.
        let title = command.get_display_name().unwrap_or(command.get_name()).replace('-', " ");
        let mut part = Vec::new();
        let man = clap_mangen::Man::new(command.clone());
        man.render_description_section(&mut part)?;
        man.render_synopsis_section(&mut part)?;
        man.render_options_section(&mut part)?;
        man.render_extra_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        text.extend(format!(".SH \"{}\"\n{part}", title.to_uppercase()).into_bytes());
    }
    text.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for (exit, meaning) in Exit::TABLE {
        text.extend(format!(".TP\n{}\n{}\n", exit.code(), meaning.replace('-', "\\-")).into_bytes());
    }
    Ok(text)
}

fn collect(command: &clap::Command, found: &mut Vec<clap::Command>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        found.push(sub.clone());
        collect(sub, found);
    }
}
