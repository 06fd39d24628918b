use clap::Parser;
use natter::workbench::simulate::{Keep, Options};
use natter::workbench::network::Fate;
#[derive(Parser)]
struct Cli { #[command(flatten)] options: Options }
fn main() {
    let cli = Cli::parse();
    let run = cli.options.simulation().unwrap().run(cli.options.first_seed.unwrap_or(1), Keep { trace: true, whereabouts_of: None });
    eprintln!("{:?} {:?}", run.failure, run.convergence);
    for p in run.trace { 
        println!("{} {:?} {{\"src\":\"{}\",\"dest\":\"{}\",\"body\":{}}}", p.at.since(run.began).as_secs_f64(), p.fate, p.src, p.dest, p.body);
    }
}
