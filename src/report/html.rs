//! The report of a run: one HTML file with all that there is to see, which opens from disk and needs nothing.
//!
//! It is made from what is stored of the run. What is missing or damaged is said, and the rest is shown.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const SCRIPTS: [&str; 3] =
    [include_str!("html/data.js"), include_str!("html/draw.js"), include_str!("html/page.js")];

/// Texts of messages are packed so many at a time, and unpacked when they are looked at. The script has the same number.
const BLOCK: usize = 4096;
/// So many lost values are links.
const LINKS_MAX: usize = 100;
/// Of a node's log that is longer than that the report has the end.
const LOG_MAX: usize = 1 << 20;

/// A line of messages.jsonl.
#[derive(Deserialize)]
struct Line<'a> {
    time: u64,
    #[serde(borrow)]
    what: &'a str,
    id: Option<u64>,
    #[serde(borrow)]
    src: Option<&'a str>,
    #[serde(borrow)]
    dest: Option<&'a str>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a str>,
}

/// What became of messages: a column for each thing to know, in the order in which they were sent.
#[derive(Default, Serialize)]
struct Messages {
    /// Microseconds since the one before was sent; the first one's time since clients began, which may be negative.
    sent: Vec<i64>,
    /// Microseconds until its end; -1 if it had none.
    took: Vec<i64>,
    /// A letter for each: what its end was.
    fates: String,
    src: Vec<usize>,
    dest: Vec<usize>,
    #[serde(rename = "type")]
    kind: Vec<usize>,
}

/// What the page's script is given.
#[derive(Serialize)]
struct Data {
    ends: Vec<String>,
    types: Vec<String>,
    messages: Messages,
    bodies: Vec<String>,
    events: String,
}

/// Numbers for texts.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Names {
    fn number(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.numbers.insert(text.to_owned(), self.texts.len());
        self.texts.push(text.to_owned());
        self.texts.len() - 1
    }
}

/// Reads messages line by line.
#[derive(Default)]
struct Reader {
    ends: Names,
    types: Names,
    messages: Messages,
    bodies: Vec<String>,
    block: String,
    in_block: usize,
    /// Where each message is, by its number in the run, with the time at which it was sent.
    places: HashMap<u64, (usize, u64)>,
    began: u64,
    last: u64,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), serde_json::Error> {
        let Line { time, what, id, src, dest, body, start } = serde_json::from_slice(line)?;
        if what == "began" {
            self.began = time;
        }
        let Some(id) = id else { return Ok(()) };
        if let (Some(src), Some(dest)) = (src, dest) {
            let text = body.or(start).map_or("", RawValue::get);
            let kind = serde_json::from_str::<Kind<'_>>(text).ok().and_then(|kind| kind.kind).unwrap_or("");
            self.sent(time, id, (src, dest, kind), text);
            return Ok(());
        }
        let fate = match what {
            "arrived" => 'a',
            "lost" => 'l',
            "cut-off" => 'c',
            "missed" => 'm',
            _ => return Ok(()),
        };
        if let Some(&(place, sent)) = self.places.get(&id) {
            // A copy of a message ends where the first one has ended already: the end that counts is the first.
            if self.messages.took[place] < 0 {
                self.messages.took[place] = (time.saturating_sub(sent) / 1000).cast_signed();
                self.messages.fates.replace_range(place..=place, fate.encode_utf8(&mut [0; 4]));
            }
        }
        Ok(())
    }

    fn sent(&mut self, time: u64, id: u64, (src, dest, kind): (&str, &str, &str), text: &str) {
        let place = self.messages.sent.len();
        let since = (time / 1000).cast_signed() - (self.last / 1000).cast_signed();
        self.last = time;
        self.messages.sent.push(since);
        self.messages.took.push(-1);
        self.messages.fates.push('u');
        self.messages.src.push(self.ends.number(src));
        self.messages.dest.push(self.ends.number(dest));
        self.messages.kind.push(self.types.number(kind));
        self.places.insert(id, (place, time));
        self.block.push_str(text);
        self.block.push('\n');
        self.in_block += 1;
        if self.in_block == BLOCK {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        if self.in_block > 0 {
            self.bodies.push(packed(self.block.as_bytes()));
            self.block.clear();
            self.in_block = 0;
        }
    }

    /// Times count from when clients began.
    fn done(mut self, events: &str) -> Data {
        self.close_block();
        if let Some(first) = self.messages.sent.first_mut() {
            *first -= (self.began / 1000).cast_signed();
        }
        Data {
            ends: self.ends.texts,
            types: self.types.texts,
            messages: self.messages,
            bodies: self.bodies,
            events: packed(events.as_bytes()),
        }
    }
}

/// Deflated, and written in letters.
fn packed(bytes: &[u8]) -> String {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
    // Memory takes all that is written to it.
    let packed = packer.write_all(bytes).and_then(|()| packer.finish()).unwrap_or_default();
    BASE64_STANDARD.encode(packed)
}

/// Writes the report of the run that is stored in a folder, as `report.html` there.
///
/// # Errors
/// If the folder can't be read, or the report can't be written.
pub fn write(run: &Path) -> io::Result<PathBuf> {
    let (html, path) = (html(run)?, run.join("report.html"));
    fs::write(&path, html)?;
    Ok(path)
}

fn html(run: &Path) -> io::Result<String> {
    let mut missing = Vec::new();
    let results = match fs::read(run.join("results.json")).map(|text| serde_json::from_slice::<Json>(&text)) {
        Ok(Ok(results)) => results,
        Ok(Err(error)) => {
            missing.push(format!("results.json is damaged ({error}), so there is no verdict."));
            Json::Null
        }
        Err(_) => {
            missing.push("There is no results.json: the run did not come to its end.".to_owned());
            Json::Null
        }
    };
    let events = events(run, &mut missing);
    let messages = messages(run, &mut missing);
    let logs = logs(run)?;
    if !["results.json", "history.jsonl", "messages.jsonl"].iter().any(|name| run.join(name).exists()) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no run is stored there"));
    }
    let data = serde_json::to_string(&messages.done(&events)).map_err(io::Error::other)?;
    let (class, verdict) = match &results["valid"] {
        Json::Bool(true) => ("valid", "valid"),
        Json::Bool(false) => ("invalid", "not valid"),
        Json::Null => ("unknown", "no verdict"),
        _ => ("unknown", "nobody can say whether it is valid"),
    };
    let workload = results["run"]["options"]["workload"].as_str().unwrap_or("a run");
    let began = results["run"]["began"].as_str().unwrap_or_default();
    let title = format!("{workload} {}", began.split('.').next().unwrap_or_default());
    let parts = [
        ("title", escaped(title.trim())),
        ("style", STYLE.to_owned()),
        ("class", class.to_owned()),
        ("verdict", verdict.to_owned()),
        ("findings", findings(&results)),
        ("figures", figures(&results)),
        ("command", escaped(&command(&results))),
        ("missing", missing.iter().map(|what| format!("<p class=\"hint\">{}</p>", escaped(what))).collect()),
        ("logs", logs),
        // Nothing in it ends the element that it is in.
        ("data", data.replace('<', "\\u003c")),
        ("script", SCRIPTS.concat()),
    ];
    Ok(filled(PAGE, &parts))
}

/// A page with its parts in their places. What parts contain is no place.
fn filled(page: &str, parts: &[(&str, String)]) -> String {
    let mut html = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("{{") {
        html += before;
        let Some((name, after)) = after.split_once("}}") else { break };
        html += parts.iter().find(|(part, _)| *part == name).map_or("", |(_, text)| text);
        rest = after;
    }
    html + rest
}

/// A text as HTML shows it, whatever it contains.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            char => html.push(char),
        }
    }
    html
}

/// The lines of the history that can be read.
fn events(run: &Path, missing: &mut Vec<String>) -> String {
    let Ok(text) = fs::read(run.join("history.jsonl")) else {
        missing.push("There is no history.jsonl, so operations are not shown.".to_owned());
        return String::new();
    };
    let (mut events, mut damaged) = (String::new(), 0);
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<&RawValue>(line) {
            Ok(event) if event.get().starts_with('{') => {
                events += event.get();
                events.push('\n');
            }
            _ => damaged += 1,
        }
    }
    if damaged > 0 {
        missing.push(format!("Lines of history.jsonl that can't be read, and were left out: {damaged}."));
    }
    events
}

fn messages(run: &Path, missing: &mut Vec<String>) -> Reader {
    let mut reader = Reader::default();
    let Ok(file) = File::open(run.join("messages.jsonl")) else {
        missing.push("There is no messages.jsonl (--no-messages?), so messages are not shown.".to_owned());
        return reader;
    };
    let (mut file, mut line, mut damaged) = (BufReader::with_capacity(1 << 16, file), Vec::new(), 0);
    while file.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        damaged += u64::from(reader.line(&line).is_err());
        line.clear();
    }
    if damaged > 0 {
        missing.push(format!("Lines of messages.jsonl that can't be read, and were left out: {damaged}."));
    }
    reader
}

/// What each node wrote to stderr, node by node.
fn logs(run: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(run)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let mut html = String::new();
    for path in files {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        if text.trim().is_empty() {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let from = text.len().saturating_sub(LOG_MAX);
        let from = (from..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or_default();
        let cut = if from > 0 { ", its end" } else { "" };
        // Memory takes all that is written to it.
        let _ = write!(
            html,
            "<details><summary>{}{cut}</summary><pre>{}</pre></details>",
            escaped(&name),
            escaped(&text[from..])
        );
    }
    Ok(if html.is_empty() { "<p>Nothing.</p>".to_owned() } else { html })
}

/// What is wrong, in paragraphs.
fn findings(results: &Json) -> String {
    let mut html = String::new();
    for finding in results["findings"].as_array().into_iter().flatten() {
        let text = |field: &str| escaped(finding[field].as_str().unwrap_or_default());
        let times = match finding["count"].as_u64() {
            Some(count) if count > 1 => format!(" ({count} times; this is the first)"),
            _ => String::new(),
        };
        let (what, hint) = (text("what"), text("hint"));
        html += &format!("<div class=\"finding\"><p>{what}{times}</p><p class=\"hint\">{hint}</p></div>");
    }
    let lost = results["workload"]["lost"].as_array().map_or(&[][..], Vec::as_slice);
    if !lost.is_empty() {
        let link = |value: &Json| {
            let value = escaped(&value.to_string());
            format!(" <a href=\"#{value}\">{value}</a>")
        };
        let links: String = lost.iter().take(LINKS_MAX).map(link).collect();
        html += &format!("<p>What carried the lost values, each by itself:{links}</p>");
    }
    html
}

/// The figures of a run, row by row.
fn figures(results: &Json) -> String {
    let count = |of: &Json| of.as_u64().map_or_else(|| "–".to_owned(), |count| count.to_string());
    let all = &results["stats"];
    let an_operation = |of: &str| {
        let each = results["net"][of]["msgs-per-op"].as_f64();
        let each = each.map_or_else(String::new, |each| format!(", {each:.2} an operation"));
        count(&results["net"][of]["msg-count"]) + &each
    };
    let faults = results["faults"].as_object().into_iter().flatten();
    let faults: Vec<String> = faults.map(|(name, times)| format!("{name} {times}")).collect();
    let rows = [
        ("operations that succeeded", count(&all["ok-count"])),
        ("that failed", count(&all["fail-count"])),
        ("of which nobody knows", count(&all["info-count"])),
        ("messages between servers", an_operation("servers")),
        ("messages with clients", an_operation("clients")),
        ("faults", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") }),
        ("seed", count(&results["seed"])),
    ];
    let rows = rows.iter().map(|(name, value)| {
        format!("<tr><th scope=\"row\">{name}</th><td class=\"number\">{}</td></tr>", escaped(value))
    });
    rows.collect()
}

/// The command that does the same again, as far as it can be done again.
fn command(results: &Json) -> String {
    let options = &results["run"]["options"];
    let mut words = vec!["natter test".to_owned()];
    let mut option = |name: &str, value: &Json| {
        let value = match value {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            Json::Array(list) => {
                let list: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
                list.join(",")
            }
            _ => return,
        };
        if !value.is_empty() {
            words.push(format!("--{name} {value}"));
        }
    };
    for name in
        ["workload", "node-count", "concurrency", "rate", "time-limit", "latency", "latency-dist", "nemesis"]
    {
        option(name, &options[name]);
    }
    if options["nemesis"].as_array().is_some_and(|faults| !faults.is_empty()) {
        option("nemesis-interval", &options["nemesis-interval"]);
    }
    option("seed", &results["seed"]);
    if let Some((bin, arguments)) =
        results["run"]["node"].as_str().map(|node| node.split_once(' ').unwrap_or((node, "")))
    {
        option("bin", &bin.into());
        if !arguments.is_empty() {
            words.push(format!("-- {arguments}"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::DeflateDecoder;
    use serde_json::json;
    use std::io::Read;

    fn unpacked(text: &Json) -> String {
        let bytes = BASE64_STANDARD.decode(text.as_str().expect("a text")).expect("letters");
        let mut unpacked = String::new();
        DeflateDecoder::new(&*bytes).read_to_string(&mut unpacked).expect("deflated");
        unpacked
    }

    /// A stored run of these files, and its report.
    fn report(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("writable");
        }
        let path = write(folder.path()).expect("a report");
        fs::read_to_string(path).expect("written")
    }

    /// What its script is given.
    fn data(html: &str) -> Json {
        let (_, rest) = html.split_once("id=\"data\">").expect("data");
        serde_json::from_str(rest.split_once("</script>").expect("its end").0).expect("JSON")
    }

    const MESSAGES: &str = r#"{"time":1000000,"id":0,"what":"sent","src":"c0","dest":"n0","body":{"type":"init"}}
{"time":2000000,"what":"began"}
{"time":5000000,"id":1,"what":"sent","src":"n0","dest":"n1","body":{"type":"gossip","values":[42]}}
{"time":5500000,"id":0,"what":"arrived"}
{"time":6000000,"id":1,"what":"cut-off"}
{"time":7000000,"id":2,"what":"sent","src":"n1","dest":"n0","bytes":9000,"start":"{\"type\":\"long"}
"#;

    #[test]
    fn messages_are_columns_that_count_from_when_clients_began() {
        let data = data(&report(&[("messages.jsonl", MESSAGES)]));
        assert_eq!(data["ends"], json!(["c0", "n0", "n1"]));
        assert_eq!(data["types"], json!(["init", "gossip", ""]));
        let columns = json!({
            "sent": [-1000, 4000, 2000], "took": [4500, 1000, -1], "fates": "acu",
            "src": [0, 1, 2], "dest": [1, 2, 1], "type": [0, 1, 2],
        });
        assert_eq!(data["messages"], columns);
        assert!(SCRIPTS[0].contains(&format!("const BLOCK = {BLOCK};")), "it unpacks what is packed here");
        let bodies = unpacked(&data["bodies"][0]);
        assert_eq!(bodies.lines().nth(1), Some(r#"{"type":"gossip","values":[42]}"#));
    }

    #[test]
    fn what_is_missing_or_damaged_is_said_and_the_rest_is_shown() {
        let cut = &MESSAGES[..MESSAGES.len() - 30];
        let history = "{\"index\":0,\"time\":0,\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}\n{\"index\":";
        let html = report(&[("messages.jsonl", cut), ("history.jsonl", history)]);
        for said in [
            "the run did not come to its end",
            "Lines of history.jsonl that can&#39;t be read, and were left out: 1.",
            "Lines of messages.jsonl that can&#39;t be read, and were left out: 1.",
        ] {
            assert!(html.contains(said), "{said}");
        }
        let data = data(&html);
        assert_eq!(data["messages"]["fates"], "ac");
        assert_eq!(unpacked(&data["events"]).lines().count(), 1);
        let html = report(&[("results.json", "{"), ("messages.jsonl", "")]);
        assert!(html.contains("results.json is damaged") && html.contains("There is no history.jsonl"));
        let empty = tempfile::tempdir().expect("a folder");
        assert_eq!(write(empty.path()).map_err(|error| error.kind()).err(), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn no_text_of_a_node_becomes_markup_or_script() {
        let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{data}}";
        let results = json!({
            "valid": false,
            "findings": [{ "what": evil, "hint": evil, "count": 2 }],
            "workload": { "lost": [evil] },
            "run": { "node": evil, "options": { "workload": evil } },
        });
        let message = json!({ "time": 0, "id": 0, "what": "sent", "src": evil, "dest": evil, "body": { "type": evil } });
        let files = [
            ("results.json", results.to_string()),
            ("messages.jsonl", message.to_string()),
            ("n0.log", evil.to_owned()),
        ];
        let html = report(&files.each_ref().map(|(name, text)| (*name, &**text)));
        assert!(!html.contains("<script>alert") && !html.contains("<img"), "{html}");
        assert_eq!(html.matches("</script>").count(), 2, "the data and the script");
        assert_eq!(data(&html)["ends"], json!([evil]));
        assert!(html.contains("not valid") && html.contains("(2 times; this is the first)"));
    }

    #[test]
    fn the_command_says_what_was_run() {
        let options = json!({ "workload": "broadcast", "rate": 20.0, "nemesis": ["partition", "kill"], "nemesis-interval": 2.0 });
        let results = json!({ "seed": 7, "run": { "node": "./node --fast", "options": options } });
        assert_eq!(
            command(&results),
            "natter test --workload broadcast --rate 20.0 --nemesis partition,kill --nemesis-interval 2.0 --seed 7 --bin ./node -- --fast"
        );
    }
}
