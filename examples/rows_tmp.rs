use clap::Parser;
use natter::workbench::simulate::{Keep, Options};
use natter::workbench::workload::WorkloadResult;
#[derive(Parser)]
struct Cli { #[command(flatten)] options: Options }
fn main() {
    let cli = Cli::parse();
    let sim = cli.options.simulation().unwrap();
    let mut v = vec![];
    for s in 1..=cli.options.seeds {
        let run = sim.run(s, Keep::default());
        if let Some(f) = &run.failure { println!("FAIL {s} {f}"); }
        let WorkloadResult::Broadcast(b) = &run.results.workload else { panic!() };
        let q: Vec<f64> = serde_json::to_value(b.stable_latencies.as_ref().unwrap()).unwrap().as_object().unwrap().values().map(|x| x.as_f64().unwrap()).collect();
        v.push((run.results.net.servers.msgs_per_op, q));
    }
    let n = v.len() as f64;
    let avg = v.iter().map(|x| x.0).sum::<f64>()/n; let worst = v.iter().map(|x| x.0).fold(0., f64::max);
    print!("msgs avg {avg:.3} worst {worst:.3}");
    for i in 1..5 { print!("  q{i} avg {:.0} worst {:.0}", v.iter().map(|x| x.1[i]).sum::<f64>()/n, v.iter().map(|x| x.1[i]).fold(0., f64::max)); }
    println!();
}
