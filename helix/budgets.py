"""What a deployment must keep to, and the figure that shows it: health and alerts judge alike."""

LAG_RECORDS = "helix_pipeline_lag_records"  # by pipeline and partition, exported by the workers
LAG_RECORDS_MAX = 10_000
