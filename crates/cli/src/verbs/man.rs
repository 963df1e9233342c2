//! `stadium man`: manual pages, generated from the command line's definition.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::output;

/// Print the manual pages, or write them into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stadium man | man -l -\n  stadium man /usr/share/man/man1")]
pub(crate) struct Man {
    /// The folder to write stadium.1, stadium-up.1 and so on to; absent: all to stdout
    folder: Option<PathBuf>,
}

impl Man {
    /// Prints or writes the page of the program and one of each verb.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let pages = pages()?;
        let Some(folder) = &self.folder else {
            return output::data(pages.into_iter().flat_map(|(_, page)| page).collect::<Vec<_>>());
        };
        let cannot = |path: &Path, error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        for (name, page) in pages {
            let path = folder.join(format!("{name}.1"));
            std::fs::write(&path, page).map_err(|error| cannot(&path, error))?;
        }
        Ok(())
    }
}

/// Renders every page with its name, the program's first.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut command = crate::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![("stadium".to_owned(), render(command.clone())?)];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("stadium-{}", verb.get_name());
        // clap wants names that live as long as the program; these few do
        let page = verb.clone().name(&*name.clone().leak());
        pages.push((name, render(page)?));
    }
    Ok(pages)
}

fn render(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::failed(format!("cannot make a manual page: {error}")))?;
    Ok(page)
}
