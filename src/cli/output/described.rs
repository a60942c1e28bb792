//! The output of dry runs about the session itself: what would be sent, and which files say it.

use alyx_client::SessionRequest;
use alyx_client::text::printable;
use alyx_registration::PlannedSession;

/// What would be sent for a session, unless that is nothing, and which of its files say it.
pub(in crate::cli) fn request_lines(request: &SessionRequest, described: Option<&str>) -> Vec<String> {
    if *request == SessionRequest::default() {
        return Vec::new();
    }
    let sent = format!("      would send {}", serde_json::to_string(request).unwrap_or_default());
    let described = described.map(|described| format!("      {}", printable(described)));
    std::iter::once(sent).chain(described).collect()
}

/// What its files say of a planned session, and which.
pub(in crate::cli) fn sources(planned: &PlannedSession) -> Option<String> {
    planned.known.as_ref()?.sources()
}

/// What would be sent for a planned session, which of its files say it, and where Alyx holds another value.
pub(in crate::cli) fn planned_lines(planned: &PlannedSession) -> Vec<String> {
    let mut lines = request_lines(&planned.request, sources(planned).as_deref());
    lines.extend(measurement_lines(&planned.measurements));
    lines.extend(difference_lines(planned).map(|line| format!("      {line}")));
    lines
}

/// The weight and water that would be recorded.
pub(in crate::cli) fn measurement_lines(measurements: &[String]) -> impl Iterator<Item = String> {
    measurements.iter().map(|what| format!("      would record {what}"))
}

/// Where Alyx holds another value, which is kept.
pub(in crate::cli) fn difference_lines(planned: &PlannedSession) -> impl Iterator<Item = String> {
    planned.differences.iter().map(|d| {
        format!("differs  {}: {} on Alyx is kept, {} here ({})", d.field, d.on_alyx, d.known, d.source)
    })
}
