//! Traces by OTLP, in a build with the feature `otlp`. Where to, and what the service is called, is said by the standard
//! environment variables of OpenTelemetry.

/// Endpoints: with one of these set, traces are sent.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

fn is_asked_for() -> Option<&'static str> {
    ENDPOINTS.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(feature = "otlp")]
pub(super) use with_feature::start;

#[cfg(feature = "otlp")]
mod with_feature {
    use opentelemetry::KeyValue;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Metadata;
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::registry::LookupSpan;

    /// Sends what is left when it is dropped.
    pub(crate) struct Guard(SdkTracerProvider);

    impl Drop for Guard {
        fn drop(&mut self) {
            if let Err(error) = self.0.shutdown() {
                tracing::warn!(%error, "the last traces were not sent");
            }
        }
    }

    type Traces<S> = (Box<dyn Layer<S> + Send + Sync>, Guard);

    /// The layer that sends our spans, when an endpoint is set; `Err` when it cannot be used.
    pub(crate) fn start<S>(instance: &str) -> Result<Option<Traces<S>>, String>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let Some(variable) = super::is_asked_for() else { return Ok(None) };
        let exporter = SpanExporter::builder().with_http().build();
        let exporter = exporter.map_err(|error| format!("traces cannot be sent to {variable}: {error}"))?;
        // The environment names the service first.
        let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let resource =
            if is_named { Resource::builder() } else { Resource::builder().with_service_name("gracekeeper") };
        let resource = resource
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let ours = filter_fn(|metadata: &Metadata<'_>| metadata.target().starts_with("gracekeeper"));
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("gracekeeper")).with_filter(ours);
        Ok(Some((layer.boxed(), Guard(provider))))
    }
}

/// None: this build sends no traces.
#[cfg(not(feature = "otlp"))]
#[allow(clippy::unnecessary_wraps)] // the same shape as with the feature
pub(super) fn start(_instance: &str) -> Result<Option<(NoTraces, NoGuard)>, String> {
    Ok(None)
}

/// There is nothing to be sent at the end.
#[cfg(not(feature = "otlp"))]
pub(super) struct NoGuard;

/// The layer of a build that sends no traces.
#[cfg(not(feature = "otlp"))]
pub(super) type NoTraces = tracing_subscriber::layer::Identity;

/// The variable that asks for traces, when this build cannot send them.
pub(super) fn asked_in_vain() -> Option<&'static str> {
    is_asked_for().filter(|_| cfg!(not(feature = "otlp")))
}
