//! The frontier as a picture: messages an operation over the longest latency, both axes logarithmic.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;
use std::{io, iter};

use plotters::coord::Shift;
use plotters::coord::combinators::{LogCoord, WithKeyPoints};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::predict::Scheme;
use super::{Row, Setting};

/// Large, so that whole pixels are fine ones when it is shown smaller.
const SIZE: (u32, u32) = (1600, 1000);
const FONT: &str = "sans-serif";

const INK: RGBColor = RGBColor(31, 35, 40);
const GREY: RGBColor = RGBColor(110, 119, 129);
const FAINT: RGBColor = RGBColor(225, 228, 232);
const ORANGE: RGBColor = RGBColor(207, 92, 0);

/// Of a curve; some ten pixels apart, so that it looks smooth in spite of whole ones.
const CURVE_POINTS: u32 = 150;

/// What others reached in the setting of the challenges.
struct Published {
    who: &'static str,
    at: Point,
    /// On which side of the point the name is.
    side: Side,
}

/// As their authors published them; those of maszlasz, DnMllr and teivah as measured under Maelstrom.
const PUBLISHED: [Published; 7] = [
    Published { who: "teivah, 3d", at: (206.0, 23.7), side: Side::Right },
    Published { who: "dstdfx", at: (102.0, 14.7), side: Side::Right },
    Published { who: "fersilva16", at: (105.0, 11.8), side: Side::Left },
    Published { who: "seyoungjkim", at: (397.0, 8.3), side: Side::Right },
    Published { who: "maszlasz", at: (390.0, 5.9), side: Side::Right },
    Published { who: "DnMllr", at: (655.0, 4.6), side: Side::Right },
    Published { who: "teivah, 3e", at: (1102.0, 1.73), side: Side::Right },
];

#[derive(Clone, Copy)]
enum Side {
    Right,
    Left,
}

/// The longest latency in milliseconds, and messages an operation.
type Point = (f64, f64);

type Axis = WithKeyPoints<LogCoord<f64>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
type Drawn = Result<(), PictureError>;

/// Why there is no picture.
pub type PictureError = DrawingAreaErrorKind<io::Error>;

/// Draws rows as SVG; with what others published, if that is the setting.
///
/// # Errors
/// If the library can't.
pub fn picture(setting: &Setting, rows: &[Row]) -> Result<String, PictureError> {
    let mut svg = String::new();
    draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), setting, rows)?;
    Ok(svg)
}

fn draw(area: &Area<'_>, setting: &Setting, rows: &[Row]) -> Drawn {
    let published: &[Published] = if *setting == Setting::CHALLENGE { &PUBLISHED } else { &[] };
    let bounds = rows.iter().map(|row| (row.predicted.max_ms, row.bound_msgs_per_op));
    let points: Vec<Point> = bounds
        .chain(rows.iter().flat_map(points))
        .chain(published.iter().map(|published| published.at))
        .collect();
    let latencies = around(points.iter().map(|point| point.0));
    let messages = around(points.iter().map(|point| point.1));
    let budget_max = rows.iter().map(|row| row.budget_ms).max().unwrap_or_default();
    let budgets = latencies.start..budget_max as f64;

    area.fill(&WHITE)?;
    title(area, setting)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(130)
        .margin_right(40)
        .margin_bottom(20)
        .margin_left(20)
        .x_label_area_size(90)
        .y_label_area_size(130)
        .build_cartesian_2d(axis(&latencies), axis(&messages))?;
    chart
        .configure_mesh()
        .bold_line_style(FAINT.stroke_width(2))
        .axis_style(GREY.stroke_width(2))
        .label_style((FONT, 30).into_font().color(&INK))
        .axis_desc_style((FONT, 32).into_font().color(&INK))
        .x_label_formatter(&shortest)
        .y_label_formatter(&shortest)
        .x_desc("longest time from a broadcast until the last node has the value, in ms")
        .y_desc("messages between nodes for each operation")
        .draw()?;
    draw_bound(&mut chart, setting, &latencies)?;
    draw_predicted(&mut chart, setting, &budgets)?;
    draw_measured(&mut chart, rows)?;
    draw_published(&mut chart, published)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font((FONT, 28).into_font().color(&INK))
        .background_style(WHITE)
        .border_style(FAINT.stroke_width(2))
        .margin(20)
        .legend_area_size(70)
        .draw()?;
    area.present()
}

/// What was predicted; then the median seed and the worst, if there were any.
fn points(row: &Row) -> Vec<Point> {
    let Row { predicted, measured, .. } = row;
    let measured = measured.as_ref().and_then(|summary| {
        let (latency, messages) = (summary.max_latency_ms.as_ref()?, summary.msgs_per_op.as_ref()?);
        Some([(latency.median, messages.median), (latency.max, messages.max)])
    });
    iter::once((predicted.max_ms, predicted.msgs_per_op)).chain(measured.into_iter().flatten()).collect()
}

/// A range with all of these figures and some space beside them; zeros, which no logarithm shows, left out.
fn around(figures: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = figures
        .filter(|&figure| figure > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), figure| (low.min(figure), high.max(figure)));
    if low <= high { low / 1.4..high * 1.4 } else { 0.1..10.0 }
}

/// A logarithmic axis, marked at 1, 2, 3 and 5 times powers of ten.
fn axis(range: &Range<f64>) -> Axis {
    let decades = range.start.log10().floor() as i32..=range.end.log10().floor() as i32;
    let marks = decades.flat_map(|decade| [1.0, 2.0, 3.0, 5.0].map(|mark| mark * 10_f64.powi(decade)));
    let marks: Vec<f64> = marks.filter(|mark| range.contains(mark)).collect();
    range.clone().log_scale().with_key_points(marks)
}

/// A mark as it is meant, without what powers of ten are off by.
fn shortest(mark: &f64) -> String {
    format!("{}", *mark as f32)
}

fn title(area: &Area<'_>, setting: &Setting) -> Drawn {
    let Setting { node_count, latency, rate } = setting;
    let centre = Pos::new(HPos::Center, VPos::Top);
    let middle = i32::try_from(SIZE.0 / 2).unwrap_or_default();
    let line = |text: &str, size: i32, color: &RGBColor, y| {
        area.draw_text(text, &(FONT, size).into_text_style(area).color(color).pos(centre), (middle, y))
    };
    line("What a broadcast costs, by how long it may take", 46, &INK, 20)?;
    let subtitle = format!(
        "{node_count} nodes, {latency} ms from one to another, {rate} operations a second, half of them broadcasts"
    );
    line(&subtitle, 30, &GREY, 76)
}

fn draw_bound(chart: &mut Chart<'_, '_>, setting: &Setting, latencies: &Range<f64>) -> Drawn {
    // Sooner than that nothing arrives.
    let possible = setting.latency.max(latencies.start)..latencies.end;
    let curve: Vec<Point> = steps(&possible).map(|ms| (ms, setting.bound(ms))).collect();
    let dashed = GREY.stroke_width(2);
    chart
        .draw_series(DashedLineSeries::new(curve, 10, 8, dashed))?
        .label("no scheme can go below")
        .legend(move |(x, y)| DashedPathElement::new([(x, y), (x + 60, y)], 10, 8, dashed));
    Ok(())
}

/// Each strategy in a colour of its own.
fn draw_predicted(chart: &mut Chart<'_, '_>, setting: &Setting, budgets: &Range<f64>) -> Drawn {
    let predict = |budget| setting.predict(Duration::from_secs_f64(budget / 1000.0));
    let predictions: Vec<_> = steps(budgets).map(predict).collect();
    let mut named = BTreeSet::new();
    for part in predictions.chunk_by(|one, next| one.strategy == next.strategy) {
        let strategy = part[0].strategy;
        let line = color(strategy).stroke_width(6);
        let curve = part.iter().map(|each| (each.max_ms, each.msgs_per_op));
        let drawn = chart.draw_series(LineSeries::new(curve, line))?;
        if named.insert(strategy) {
            drawn
                .label(format!("predicted: {}", strategy.name()))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 60, y)], line));
        }
    }
    Ok(())
}

fn color(strategy: Scheme) -> RGBColor {
    match strategy {
        Scheme::Direct => RGBColor(130, 80, 223),
        Scheme::StarAtOnce => RGBColor(9, 105, 218),
        Scheme::StarAligned => RGBColor(27, 124, 131),
        Scheme::Tree => RGBColor(77, 145, 40),
    }
}

/// The worst seed of each row, and a line to it from what was predicted, by way of the median one.
fn draw_measured(chart: &mut Chart<'_, '_>, rows: &[Row]) -> Drawn {
    let lines: Vec<_> = rows.iter().map(points).filter(|points| points.len() > 1).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let worst: Vec<Point> = lines.iter().filter_map(|points| points.last().copied()).collect();
    chart.draw_series(lines.into_iter().map(|points| PathElement::new(points, ORANGE.stroke_width(2))))?;
    chart
        .draw_series(worst.into_iter().map(|at| Circle::new(at, 8, ORANGE.filled())))?
        .label("measured, the worst seed")
        .legend(|(x, y)| Circle::new((x + 30, y), 8, ORANGE.filled()));
    Ok(())
}

fn draw_published(chart: &mut Chart<'_, '_>, published: &[Published]) -> Drawn {
    if published.is_empty() {
        return Ok(());
    }
    for Published { who, at, side } in published {
        let (offset, anchor) = match side {
            Side::Right => ((20, 0), Pos::new(HPos::Left, VPos::Center)),
            Side::Left => ((-10, 10), Pos::new(HPos::Right, VPos::Top)),
        };
        let style = (FONT, 28).into_font().color(&INK).pos(anchor);
        chart.draw_series([EmptyElement::at(*at) + Text::new(*who, offset, style)])?;
    }
    chart
        .draw_series(published.iter().map(|published| TriangleMarker::new(published.at, 12, INK.filled())))?
        .label("others, as published")
        .legend(|(x, y)| TriangleMarker::new((x + 30, y), 12, INK.filled()));
    Ok(())
}

/// So many steps through a range, each by the same factor.
fn steps(range: &Range<f64>) -> impl Iterator<Item = f64> {
    let Range { start, end } = *range;
    (0..=CURVE_POINTS)
        .map(move |step| start * libm::pow(end / start, f64::from(step) / f64::from(CURVE_POINTS)))
}
