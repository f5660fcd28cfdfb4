//! What `/metrics` says of the metrics that have no description beside their source.
//!
//! Invariant: counters of trouble are shown from the start, at 0: one that appears with its first error cannot be alerted on.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: &[(&str, &str)] = &[
    ("alert_notifications_dropped_total", "Notifications given up, by channel and reason"),
    ("alert_store_failures_total", "Failed attempts to make alerts durable; they are tried again"),
    ("alert_verdicts_replayed_total", "Findings that came again after a restart and were counted before"),
    ("alerts_lost_total", "Changes of alerts that could not be made durable, by reason"),
    ("alert_feedback_total", "What people said of alerts, by verdict"),
    ("alerts_raised_total", "Alerts raised, by severity and detector"),
    ("audit_lines_lost_total", "Audit lines that could not be written"),
    ("detect_rehearsed_total", "Findings in rehearsal, by detector: they raised no alert"),
    ("detector_panics_total", "Batches stored unjudged because a detector panicked"),
    ("errors_total", "Errors inside the server, by area"),
    (
        "llm_answers_refused_total",
        "Answers of the language model, or parts of them, that were not taken, by reason",
    ),
    (
        "agent_findings_not_answered_total",
        "Findings of the agent that found no room to be answered by a playbook",
    ),
    ("alert_events_missed_total", "Times a reader of alerts was too slow and read the live ones again"),
    ("alert_mutes_total", "Mutes set and lifted, by cause"),
    ("alerts_posted_total", "Alerts posted by other systems, by outcome"),
    ("alerts_recovered_total", "Alerts resolved because their detector saw the end, by detector"),
    ("alerts_returned_total", "Alerts that came back soon after they were resolved, by severity"),
    ("alerts_uncorrelated_total", "Alerts that joined no incident for want of room, by reason"),
    ("alerts_unindexed_total", "Live alerts beyond those whose mutes are followed"),
    (
        "door_connections_refused_total",
        "Connections of shippers that were refused or cut, by door and reason",
    ),
    ("door_connections_total", "Connections of shippers, by door"),
    ("door_dropped_total", "Datagrams and samples that could not be taken, by door and reason"),
    ("door_frames_rejected_total", "Frames that are not of their protocol, by door and reason"),
    ("door_kafka_commit_failures_total", "Offsets that could not be committed; they are tried again"),
    ("door_kafka_failures_total", "Sessions with a Kafka cluster that failed; they are begun anew"),
    ("door_kafka_messages_total", "Messages read from Kafka, by source"),
    ("door_kafka_replayed_total", "Ranges of offsets read again after a crash"),
    ("door_kafka_skipped_total", "Offsets that the cluster did not have any more"),
    ("hec_channels_forgotten_total", "Channels of the event collector forgotten, by reason"),
    ("journald_journals_forgotten_total", "Journals whose place was forgotten for want of room"),
    ("journald_uploads_cut_total", "Uploads of journals ended early, by reason"),
    ("pipeline_ended_total", "Records a pipeline kept from the store, by pipeline and outcome"),
    ("pipeline_errors_total", "Steps of pipelines that failed; the record is kept and marked"),
    ("remote_write_ignored_total", "Parts of remote writes that are not kept, by kind"),
    ("scrape_failures_total", "Scrapes that failed, by reason"),
    ("scrapes_total", "Scrapes"),
    ("email_recipients_refused_total", "Recipients a mail server refused"),
    ("incidents_opened_total", "Incidents opened"),
    ("notification_alerts_total", "Alerts told to a receiver"),
    ("notification_documents_unreadable_total", "Stored states of notifications that could not be read"),
    ("notification_escalations_total", "Groups told to somebody else because nobody acknowledged"),
    ("notification_folded_total", "Alerts folded into a digest"),
    ("notification_notices_failed_total", "Notices given up after their attempts"),
    ("notification_notices_total", "Notices made, by kind"),
    ("notification_rounds_failed_total", "Rounds of the notification pipeline that failed"),
    (
        "notification_store_failures_total",
        "States of notifications that could not be stored; they are tried again",
    ),
    ("query_cache_total", "Questions to the result cache, by outcome"),
    ("respond_actions_total", "Actions, by kind and outcome"),
    ("respond_escalations_lost_total", "Notices of the responder that nobody could be told"),
    ("respond_ledger_lost_total", "Lines of actions that could not be written to the audit trail"),
    ("respond_panics_total", "Panics in runners or the responder; the run goes on as failed"),
    ("respond_refusals_total", "Actions a limit refused, by limit"),
    ("respond_runs_total", "Runs of playbooks ended, by state"),
    ("respond_skipped_total", "Alerts no playbook answered, by reason"),
    ("store_cold_bytes_total", "Bytes to and from the cold tier, by direction"),
    ("store_cold_moves_total", "Segments moved to the cold tier, by outcome"),
    ("store_cold_reads_total", "Reads from the cold tier, by outcome"),
    ("store_cold_retries_total", "Requests to the cold tier that were tried again"),
    ("llm_attempts_total", "Attempts to ask the language model, by outcome"),
    ("llm_fallbacks_total", "Templates on which key words decided, by reason"),
    ("llm_questions_total", "Questions to the language model, by outcome"),
    ("llm_templates_dropped_total", "Templates that were not reviewed, by reason"),
    ("llm_templates_labelled_total", "Templates labelled, by whom"),
    ("llm_templates_offered_total", "Templates offered for review, by outcome"),
    ("llm_tokens_total", "Tokens of the language model, by direction"),
    ("events_processed_total", "Records judged and searchable, by dataset"),
    ("http_connections_cut_total", "Connections cut by the server, by reason"),
    ("http_panics_total", "Requests answered 500 because their handler panicked"),
    ("http_requests_total", "Requests answered, by route, method and class of status"),
    ("dead_letters_evicted_total", "Dead letters let go to stay within bounds, by reason"),
    ("dead_letters_lost_total", "Rejected records that were not kept as they came, by reason"),
    ("dead_letters_total", "Rejected and quarantined records kept as they came, by door"),
    ("ingest_bytes_total", "Bytes of bodies taken, unpacked, by door"),
    ("ingest_records_total", "Records received, by door and outcome"),
    ("ingest_refused_total", "Requests refused whole, by reason"),
    ("ingest_rejected_total", "Records rejected, by reason"),
    ("receipt_shippers_forgotten_total", "Shippers no longer summed up, since others came"),
    ("receipts_not_filed_total", "Receipts of trouble that will not survive a restart, by reason"),
    ("live_sessions_cut_total", "Live sessions cut by the server, by reason"),
    ("notifications_total", "Notifications, by channel and outcome"),
    ("store_flush_failures_total", "Failed attempts to write segments; they are tried again"),
    ("store_rows_dropped_total", "Records dropped, by reason"),
    ("stream_frames_undecodable_total", "Journal frames that could not be decoded"),
    ("vitals_keep_failures_total", "Failed attempts to keep how the server fares; they are tried again"),
    ("watch_refused_total", "Technicians refused, by reason"),
    ("watch_sessions_cut_total", "Technician sessions cut by the server, by reason"),
];
const GAUGES: &[(&str, &str)] = &[
    ("alerts_open", "Alerts that are not resolved, by status"),
    (
        "detector_threshold_factor",
        "Factor on thresholds that follows from feedback, by detector; 1 when absent",
    ),
    ("notification_channels_down", "Channels that take no notices"),
    ("notification_groups", "Groups of alerts that are followed"),
    ("notification_groups_folded", "Groups that wait for a digest"),
    ("notifications_in_flight", "Notices on their way"),
    ("query_cache_bytes", "Bytes of the result cache"),
    ("respond_actions_waiting", "Actions that wait for room"),
    ("respond_runs_live", "Runs of playbooks that have not ended"),
    ("llm_breaker_open", "1 while the language model is left alone after failures"),
    ("door_kafka_connected", "1 while a Kafka cluster answers, by source"),
    ("door_kafka_lag", "Messages of a partition that are not read yet"),
    ("door_kafka_stuck_partitions", "Partitions that do not go on, by source"),
    ("scrape_targets", "Targets that are scraped, by job"),
    ("live_sessions", "Open WebSocket and server-sent event sessions"),
    ("store_segment_bytes", "Bytes of all segments"),
    ("store_segment_rows", "Records in all segments"),
    ("store_segments", "Segments"),
    (
        "store_segments_damaged",
        "Segments set aside because they are damaged: answers go without their records",
    ),
    ("store_templates", "Message templates known"),
    ("watch_sessions", "Open technician sessions"),
];
const HISTOGRAMS: &[(&str, &str)] = &[
    ("llm_question_duration_seconds", "Time of one question to the language model, attempts included"),
    ("notification_attempt_duration_seconds", "Time of one attempt to tell, by channel"),
    ("event_processing_seconds", "Time from the arrival of a batch until it is judged and searchable"),
    ("http_request_duration_seconds", "Time from the head of a request to the head of its answer, by route"),
    ("store_flush_duration_seconds", "Time to write one set of segments"),
];
/// Counters of trouble without labels.
const FROM_THE_START: &[&str] = &[
    "alert_store_failures_total",
    "audit_lines_lost_total",
    "detector_panics_total",
    "http_panics_total",
    "store_flush_failures_total",
    "stream_frames_undecodable_total",
];

/// Describes the metrics to the recorder, which must be installed.
pub(crate) fn describe() {
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, *help);
    }
    for name in FROM_THE_START {
        counter!(*name).increment(0);
    }
    for area in ["alerts", "detectors", "http", "store"] {
        counter!("errors_total", "area" => area).increment(0);
    }
}
