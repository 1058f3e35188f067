//! Binding, routing and prefill reordering, one policy a file.
