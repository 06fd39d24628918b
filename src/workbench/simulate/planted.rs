//! Plants each known bug in turn, and sees how soon the simulator finds it.

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use super::{Designs, Keep, Options};
use crate::planted::Bug;
use crate::workbench::hazards::{Hazard, Hazards};

/// What was found of one bug.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The bug.
    pub bug: Bug,
    /// What found it, and after how many seeds; none if nothing did.
    pub found: Option<(&'static str, u64)>,
}

impl Bug {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The design that it is planted in.
    #[must_use]
    pub fn design(self) -> Designs {
        match self {
            Bug::SimpleTimerForgotten | Bug::SimpleAckOfAny => Designs::Simple,
            _ => Designs::LockFree,
        }
    }

    /// The faults that bring it out, if it takes special ones.
    #[must_use]
    pub fn hazards(self) -> Option<Hazards> {
        match self {
            Bug::RootTakenForGranted | Bug::ChildGivenUp => Some(Hazards::These(vec![Hazard::LastingCut])),
            _ => None,
        }
    }

    /// The node options that bring it out, if it takes any.
    #[must_use]
    pub fn node_options(self) -> &'static [&'static str] {
        match self {
            Bug::OverflowForgotten => &["--queue-limit=16"],
            _ => &[],
        }
    }
}

/// Plants a bug, and runs the seeds from `first_seed` on, at most `seeds`, until one fails.
///
/// # Errors
/// If the options make no sense.
pub fn hunt(bug: Bug, options: &Options, first_seed: u64, seeds: u64) -> Result<Finding, clap::Error> {
    let own = bug.node_options().iter().map(|&option| option.to_owned());
    let node_options = options.node_options.iter().cloned().chain(own).collect();
    let faults = bug.hazards().unwrap_or_else(|| options.faults.clone());
    let options = Options { design: bug.design(), bug: Some(bug), faults, node_options, ..options.clone() };
    let simulation = options.simulation()?;
    let run = |number: u64| {
        let failure = simulation.run(first_seed.wrapping_add(number), Keep::default()).failure?;
        Some((failure.found_by(), number + 1))
    };
    Ok(Finding { bug, found: (0..seeds).find_map(run) })
}

/// All findings as one table.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["bug", "what it does", "options", "found by", "after seeds"]);
    for Finding { bug, found } in findings {
        let faults = bug.hazards().map(|hazards| format!("--faults {hazards}"));
        let own = bug.node_options().iter().map(|&option| option.to_owned());
        let options: Vec<String> = faults.into_iter().chain(own).collect();
        let help = bug.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        let options = if options.is_empty() { "–".to_owned() } else { options.join(" ") };
        let (by, after) = match found {
            Some((by, after)) => (*by, after.to_string()),
            None => ("NOTHING", "–".to_owned()),
        };
        table.add_row([bug.name(), help.unwrap_or_default(), options, by.to_owned(), after]);
    }
    if let Some(column) = table.column_mut(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
