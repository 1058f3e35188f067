//! Metric names in one table, tracing set-up, and trace context.
