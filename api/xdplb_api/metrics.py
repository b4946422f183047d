# SPDX-License-Identifier: Apache-2.0
"""The metrics: their names, types, labels and help texts, with samples from one view of the manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from xdplb.control.answers.metrics import BackendMetrics, BackendState, MetricsView, VipMetrics
from xdplb.control.answers.views import BackendStatsView, NotifyView, StoreView, VipStatsView
from xdplb.control.health.passive.latency import BOUNDS
from xdplb.control.health.tally import CheckTally
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.passive_watch import HandshakeCounts
from xdplb.control.writing.store_standing import StoreState
from xdplb.model.durations import BOUNDS as BOUNDS_OF_TIMES
from xdplb.model.health import labels_of

from .exposition import Family, Histogram, Labels, Observed
from .peer_metrics import of_peers
from .process_metrics import of_process
from .rights.figures import Figures

__all__ = ["collect"]

_Samples = Iterable[tuple[Labels, float]]
_NONE = Labels()


@dataclass(frozen=True, slots=True)
class _Vip:
    """A VIP with its numbers, and the labels of it and of its backends."""

    labels: Labels
    stats: VipStatsView
    metrics: VipMetrics
    backends: Sequence[Labels]

    @classmethod
    def of(cls, stats: VipStatsView, metrics: VipMetrics) -> _Vip:
        """Return a VIP with its labels."""
        backends = [Labels(vip=stats.vip, backend=backend.backend) for backend in stats.backends]
        return cls(Labels(vip=stats.vip), stats, metrics, backends)


def collect(view: MetricsView, figures: Figures) -> Iterator[Family]:
    """Yield all metrics, including those without samples now. Each is made when it is requested.

    `figures` are those of the API itself.
    """
    yield from of_process()
    yield from _of_host(view)
    yield from _of_writing(view)
    yield from _of_drift(view)
    yield from _of_config(view)
    yield from _of_all(view)
    yield from _of_store(view.store)
    yield from _of_flow_table(view)
    vips = [_Vip.of(stats, metrics) for stats, metrics in zip(view.stats.vips, view.vips, strict=True)]
    yield from _counters_of_vips(vips)
    yield from _gauges_of_vips(vips)
    yield from _counters_of_backends(vips)
    yield from _gauges_of_backends(vips)
    yield from _of_checks(vips)
    yield from _of_checks_standing(view)
    yield from _of_handshakes(vips)
    yield from _of_paths(vips, view)
    yield from of_peers(view.peers)
    yield from _of_events(view)
    yield from _of_notifications(view)
    yield _counter(
        "xdplb_dns_updates_total",
        "Updates of names in DNS since the daemon started: made, lost to another one that was quicker, or failed.",
        [(Labels(result=result), count) for result, count in view.dns_updates.items()],
    )
    yield from _of_rights(figures)


def _of_host(view: MetricsView) -> Iterator[Family]:
    yield _gauge("xdplb_build_info", "The version of the daemon; always 1.", [(Labels(version=view.version), 1)])
    yield _gauge(
        "xdplb_start_time_seconds",
        "When the daemon was up, in seconds since 1970.",
        [(_NONE, view.started.timestamp())],
    )
    yield _gauge(
        "xdplb_clock_ahead_seconds",
        "How far the wall clock has been set forward since the state was made; changes while it is being set.",
        [(_NONE, view.clock_ahead.total_seconds())],
    )
    yield _gauge("xdplb_generation", "The number of the last accepted change.", [(_NONE, view.generation)])
    yield _gauge(
        "xdplb_observed_generation",
        "The last generation that the data plane has completely.",
        [(_NONE, view.observed_generation)],
    )
    yield _gauge(
        "xdplb_interface_attached",
        "Whether the program is on a NIC that was asked for; with its XDP mode, or the one asked for.",
        [(Labels(iface=one.interface, mode=one.mode), int(one.attached)) for one in view.nics],
    )
    yield _gauge(
        "xdplb_program_held_back",
        "Whether an older program is in use, since that of this version was rolled back.",
        [(_NONE, int(view.held_back))],
    )
    yield _gauge(
        "xdplb_node_state",
        "What this node does with traffic; always 1.",
        [(Labels(state=view.node.value), 1)],
    )
    yield _gauge(
        "xdplb_interface_up",
        "Whether a NIC that was asked for is up and has a carrier.",
        [(Labels(iface=one.interface), int(one.up)) for one in view.nics if one.up is not None],
    )
    for name, words, packets in (
        ("xdplb_drops_total", "Packets dropped.", view.stats.drops),
        ("xdplb_passes_total", "Packets passed to the host's own stack.", view.stats.passes),
        ("xdplb_answers_total", "Packets answered by the balancer.", view.stats.answers),
    ):
        yield _counter(name, words, [(Labels(reason=reason), count) for reason, count in packets.items()])


def _of_drift(view: MetricsView) -> Iterator[Family]:
    yield _counter(
        "xdplb_drift_total",
        "What was found not to be as it should be since the daemon started, and whether it was put right at once.",
        [
            (Labels(kind=kind.value, repaired=str(repaired).lower()), count)
            for (kind, repaired), count in view.drift_counts.items()
        ],
    )
    yield _gauge(
        "xdplb_drift_present",
        "What is not as it should be now.",
        [(Labels(kind=kind.value), count) for kind, count in view.drift.items()],
    )
    yield _gauge(
        "xdplb_thread_hung",
        "Whether a thread of the daemon has done nothing for many seconds, though it has something to do.",
        [(Labels(thread=thread), int(hung)) for thread, hung in view.hung.items()],
    )


def _of_writing(view: MetricsView) -> Iterator[Family]:
    yield _gauge(
        "xdplb_changes_waiting",
        "Changes that were asked for and are not made yet.",
        [(_NONE, view.changes_waiting)],
    )
    yield Histogram(
        "xdplb_map_update_seconds",
        "How long it took to bring the maps from one state to the next.",
        BOUNDS_OF_TIMES,
        [Observed(_NONE, view.map_updates.counts, view.map_updates.sum)],
    )


def _of_all(view: MetricsView) -> Iterator[Family]:
    """Yield counts of all VIPs and backends, which are there at each level."""
    yield _gauge(
        "xdplb_vips",
        "VIPs of this status.",
        [(Labels(status=status.value), view.vip_statuses.get(status, 0)) for status in OperatingStatus],
    )
    yield _gauge(
        "xdplb_backends",
        "Backends of all VIPs in this state.",
        [(Labels(state=state.value), view.backend_states.get(state, 0)) for state in BackendState],
    )
    yield _gauge(
        "xdplb_table_entries",
        "VIPs and backends in the maps.",
        [(Labels(table=table), use.used) for table, use in view.tables.items()],
    )
    yield _gauge(
        "xdplb_table_capacity",
        "How many VIPs and backends the maps have room for.",
        [(Labels(table=table), use.capacity) for table, use in view.tables.items()],
    )


def _of_config(view: MetricsView) -> Iterator[Family]:
    truth = view.truth
    yield _gauge(
        "xdplb_config_last_reload_success_timestamp_seconds",
        "When the config file was taken last, in seconds since 1970; no sample without one.",
        [] if view.config_taken is None else [(_NONE, view.config_taken.timestamp())],
    )
    yield _gauge(
        "xdplb_config_last_reload_ok",
        "Whether the config file, if there is one, was taken when it was read last.",
        [(_NONE, int(not truth.error))],
    )
    yield _gauge(
        "xdplb_config_overlay_backends",
        "Backends with another weight or admin state than the config file says.",
        [(_NONE, truth.overlay)],
    )


def _of_store(store: StoreView | None) -> Iterator[Family]:
    """Yield the metrics of the store that balancers share; without samples if this one is alone."""

    def sample(number: Callable[[StoreView], float]) -> list[tuple[Labels, float]]:
        return [] if store is None else [(_NONE, number(store))]

    yield _gauge(
        "xdplb_store_up",
        "Whether the store answers, and has what this balancer has.",
        sample(lambda known: int(known.state is StoreState.UP)),
    )
    yield _gauge(
        "xdplb_store_revision",
        "The revision of the store at which this balancer is.",
        sample(lambda known: known.revision),
    )
    yield _gauge(
        "xdplb_store_generation",
        "The generation in the store, as this balancer knows it.",
        sample(lambda known: known.generation),
    )
    yield _gauge(
        "xdplb_store_pending_backends",
        "Backends that were changed here while the store was away, and are not written to it yet.",
        sample(lambda known: len(known.pending)),
    )
    yield _gauge(
        "xdplb_store_refused_entries",
        "VIPs and backends in the store that this balancer does not take.",
        sample(lambda known: len(known.refused)),
    )
    yield _counter(
        "xdplb_store_writes_total",
        "Changes that this balancer has written to the store since the daemon started.",
        sample(lambda known: known.writes),
    )
    yield _counter(
        "xdplb_store_conflicts_total",
        "Writes that were prepared anew since another balancer was first.",
        sample(lambda known: known.conflicts),
    )


def _of_flow_table(view: MetricsView) -> Iterator[Family]:
    table = view.stats.flow_table
    yield _gauge("xdplb_flow_entries", "Records of open flows, as of the last count.", [(_NONE, table.used)])
    yield _gauge("xdplb_flow_capacity", "Capacity of the flow table, in records.", [(_NONE, table.capacity)])
    yield _counter(
        "xdplb_flow_evictions_total",
        "Records evicted since the daemon started because the flow table was full.",
        [(_NONE, table.evicted)],
    )


def _counters_of_vips(vips: Sequence[_Vip]) -> Iterator[Family]:
    def counter(name: str, words: str, value: Callable[[VipStatsView], int]) -> Family:
        return _counter(name, words, ((vip.labels, value(vip.stats)) for vip in vips))

    yield counter("xdplb_vip_packets_total", "Packets forwarded.", lambda stats: stats.packets)
    yield counter("xdplb_vip_bytes_total", "Bytes of those packets, as received.", lambda stats: stats.bytes)
    yield counter("xdplb_vip_new_flows_total", "New connections.", lambda stats: stats.new_flows)
    yield counter("xdplb_vip_records_total", "Flows added to the flow table.", lambda stats: stats.records)
    yield counter("xdplb_vip_replies_total", "Packets of nat backends sent on to clients.", lambda stats: stats.replies)
    yield counter(
        "xdplb_connections_at_risk_total",
        "Packets of old connections without a record.",
        lambda stats: stats.at_risk,
    )


def _gauges_of_vips(vips: Sequence[_Vip]) -> Iterator[Family]:
    yield _gauge("xdplb_vip_backends", "Backends.", ((vip.labels, vip.metrics.view.backends) for vip in vips))
    yield _gauge(
        "xdplb_vip_backends_serving",
        "Healthy backends that take new connections.",
        ((vip.labels, vip.metrics.view.backends_serving) for vip in vips),
    )
    yield _gauge(
        "xdplb_vip_backends_needed",
        "Backends that must be healthy and take new connections, by min_serving.",
        ((vip.labels, vip.metrics.view.backends_needed) for vip in vips),
    )
    yield _gauge(
        "xdplb_vip_status",
        "The status of the VIP; always 1. There are no samples for its other states.",
        ((_and(vip.labels, status=vip.metrics.view.operating_status.value), 1) for vip in vips),
    )
    yield _gauge(
        "xdplb_vip_announced",
        "Whether the route of a VIP that asks for one is in the table, with whatever metric.",
        (
            (vip.labels, int(announced.metric is not None))
            for vip in vips
            if (announced := vip.metrics.view.announced) is not None
        ),
    )
    yield _gauge(
        "xdplb_vip_in_dns",
        "1 if the VIP's address is under its name in DNS. There are no samples for VIPs without a name.",
        ((vip.labels, float(dns.is_published)) for vip in vips if (dns := vip.metrics.view.dns) is not None),
    )
    yield _gauge(
        "xdplb_vip_failing_open",
        "Whether backends that are not healthy get new connections.",
        ((vip.labels, int(vip.metrics.view.operating_status is OperatingStatus.FAILING_OPEN)) for vip in vips),
    )
    yield _counter(
        "xdplb_vip_transitions_total",
        "How often the status of the VIP has changed since the daemon started.",
        ((vip.labels, vip.metrics.transitions) for vip in vips),
    )
    yield _gauge("xdplb_slots", "Slots of the VIP's table in this state.", _slots(vips))


def _slots(vips: Iterable[_Vip]) -> _Samples:
    for vip in vips:
        slots = vip.metrics.view.slots
        for state, number in (("steady", slots.steady), ("moving", slots.moving), ("pinned", slots.pinned)):
            yield _and(vip.labels, state=state), number


def _counters_of_backends(vips: Sequence[_Vip]) -> Iterator[Family]:
    def counter(name: str, words: str, value: Callable[[BackendStatsView], int]) -> Family:
        return _counter(name, words, ((labels, value(stats)) for labels, stats, _ in _backends(vips)))

    yield counter("xdplb_backend_packets_total", "Packets forwarded to the backend.", lambda stats: stats.packets)
    yield counter("xdplb_backend_bytes_total", "Bytes of those packets, as received.", lambda stats: stats.bytes)
    yield counter("xdplb_backend_new_flows_total", "New connections.", lambda stats: stats.new_flows)
    yield counter(
        "xdplb_backend_replies_total",
        "Packets of the backend, if reached by nat, sent on to clients.",
        lambda stats: stats.replies,
    )
    yield _counter("xdplb_backend_second_choices_total", "New connections that went to another one.", _second(vips))


def _second(vips: Sequence[_Vip]) -> _Samples:
    for labels, stats, _ in _backends(vips):
        yield _and(labels, cause="failover"), stats.failovers
        yield _and(labels, cause="max_new_flows"), stats.over


def _gauges_of_backends(vips: Sequence[_Vip]) -> Iterator[Family]:
    yield _gauge(
        "xdplb_backend_state",
        "The state of the backend; always 1. There are no samples for its other states.",
        ((_and(labels, state=each.state.value), 1) for labels, _, each in _backends(vips)),
    )
    yield _gauge(
        "xdplb_backend_weight", "The configured weight.", ((labels, each.weight) for labels, _, each in _backends(vips))
    )
    yield _gauge(
        "xdplb_backend_effective_weight",
        "The weight that counts: the configured one, or what its agent wants in the place of that.",
        ((labels, each.effective_weight) for labels, _, each in _backends(vips)),
    )
    yield _counter(
        "xdplb_backend_transitions_total",
        "How often the health of the backend has changed since the daemon started.",
        ((labels, each.transitions) for labels, _, each in _backends(vips)),
    )
    yield _gauge(
        "xdplb_backend_draining_flows",
        "Open connections that a drain waits for, as of the last scan.",
        ((labels, each.draining_flows) for labels, _, each in _backends(vips) if each.draining_flows is not None),
    )


def _of_checks(vips: Sequence[_Vip]) -> Iterator[Family]:
    yield _counter(
        "xdplb_health_checks_total", "Results of checks since the daemon started or the check changed.", _results(vips)
    )
    yield _gauge("xdplb_health_check_duration_seconds", "Duration of the last check.", _durations(vips))


def _of_checks_standing(view: MetricsView) -> Iterator[Family]:
    standing = view.standing
    yield Histogram(
        "xdplb_health_check_latency_seconds",
        "How long checks of this type took since the daemon started, of all backends, until they passed or failed.",
        BOUNDS_OF_TIMES,
        (Observed(Labels(type=kind.value), taken.counts, taken.sum) for kind, taken in view.latencies.items()),
    )
    yield _gauge(
        "xdplb_health_checks_overdue",
        "Checks that have had no result for longer than they should, since this host cannot run them.",
        [(_NONE, standing.overdue)],
    )
    yield _gauge("xdplb_health_probes", "Probes of checks under way.", [(_NONE, standing.probes)])
    yield _gauge("xdplb_health_probes_limit", "How many may be under way at a time.", [(_NONE, standing.most_probes)])
    yield _gauge(
        "xdplb_loop_pause_seconds",
        "The longest time in the last minute or two in which the control loop did one thing and all else waited.",
        [(_NONE, view.longest_pause)],
    )


def _of_handshakes(vips: Sequence[_Vip]) -> Iterator[Family]:
    """Yield what is known of sampled handshakes; without samples for VIPs that are not sampled."""

    def sampled() -> Iterator[tuple[Labels, HandshakeCounts]]:
        return ((labels, each.handshakes) for labels, _, each in _backends(vips) if each.handshakes is not None)

    yield _counter(
        "xdplb_backend_handshakes_total",
        "Handshakes of the connections that are sampled, by what became of them.",
        (
            (_and(labels, result=result), count)
            for labels, found in sampled()
            for result, count in found.results.items()
        ),
    )
    yield Histogram(
        "xdplb_backend_handshake_seconds",
        "Time from the SYN of a sampled connection to the client's answer to the SYN-ACK.",
        BOUNDS,
        (Observed(labels, found.latency, found.latency_seconds) for labels, found in sampled()),
    )
    yield _counter(
        "xdplb_backend_ejections_total",
        "How often passive health has ejected the backend since the daemon started.",
        ((labels, found.ejections) for labels, found in sampled()),
    )


def _results(vips: Iterable[_Vip]) -> _Samples:
    for labels, _, each in _backends(vips):
        for label, tally in _checks(each):
            yield _and(labels, check=label, result="passed"), tally.passes
            yield _and(labels, check=label, result="failed"), tally.failures


def _durations(vips: Iterable[_Vip]) -> _Samples:
    for labels, _, each in _backends(vips):
        for label, tally in _checks(each):
            if tally.last is not None and tally.last.passed is not None:  # None: it could not be run
                yield _and(labels, check=label), tally.last.seconds


def _checks(backend: BackendMetrics) -> Iterator[tuple[str, CheckTally]]:
    """Yield the results of each check of a backend, with what the check is called."""
    checks = tuple(check for check, _ in backend.checks)
    yield from zip(labels_of(checks), (tally for _, tally in backend.checks), strict=True)


def _of_paths(vips: Sequence[_Vip], view: MetricsView) -> Iterator[Family]:
    yield _gauge(
        "xdplb_backend_mtu_bytes",
        "The longest packet that is sent to the backend, with its outer headers.",
        ((labels, each.mtu) for labels, _, each in _backends(vips) if each.mtu is not None),
    )
    yield _counter(
        "xdplb_backend_path_errors_total",
        "ICMP errors about packets in the tunnel to the backend, since the daemon started; no samples if none came.",
        (
            (_and(labels, kind=kind.value), count)
            for labels, _, each in _backends(vips)
            for kind, count in each.path_errors.items()
        ),
    )
    yield _counter(
        "xdplb_path_errors_ignored_total",
        "ICMP errors about packets in tunnels that were not believed, since the daemon started.",
        [(Labels(reason=reason.value), count) for reason, count in view.ignored_errors.items()],
    )


def _of_rights(figures: Figures) -> Iterator[Family]:
    yield _counter(
        "xdplb_api_refused_total",
        "Requests to the API without a right token or certificate, or without the role, since the daemon started.",
        [(Labels(reason=reason), count) for reason, count in figures.refused.items()],
    )
    yield _gauge(
        "xdplb_tls_certificate_expiry_timestamp_seconds",
        "When the API's certificate expires, in seconds since 1970; no sample without TLS.",
        [] if figures.expires is None else [(_NONE, figures.expires)],
    )


def _of_events(view: MetricsView) -> Iterator[Family]:
    events = view.events
    yield _counter("xdplb_events_total", "Events since the daemon started.", [(_NONE, events.came)])
    yield _counter(
        "xdplb_events_dropped_total",
        "Events that only the log has: too many came at once, or they could not be written for too long.",
        [(_NONE, events.dropped)],
    )
    yield _gauge("xdplb_events_waiting", "Events that are not written yet.", [(_NONE, events.waiting)])
    yield _gauge("xdplb_events_kept", "Events that are kept.", [(_NONE, events.rows)])
    yield _gauge("xdplb_events_writable", "Whether events can be written now.", [(_NONE, int(not events.error))])


def _of_notifications(view: MetricsView) -> Iterator[Family]:
    by_name: dict[str, list[NotifyView]] = {}
    for each in view.notified:
        by_name.setdefault(each.name, []).append(each)  # the same command may be there twice

    def samples(field: str) -> _Samples:
        return [
            (Labels(target=name), sum(getattr(each, field) for each in same)) for name, same in sorted(by_name.items())
        ]

    yield _counter("xdplb_notify_sent_total", "Events that a command or webhook of --notify took.", samples("sent"))
    yield _counter("xdplb_notify_failed_total", "Tries to hand an event on that failed.", samples("failed"))
    yield _counter("xdplb_notify_dropped_total", "Events that it will not get any more.", samples("dropped"))
    yield _gauge("xdplb_notify_waiting", "Events that it has not got yet.", samples("waiting"))


def _backends(vips: Iterable[_Vip]) -> Iterator[tuple[Labels, BackendStatsView, BackendMetrics]]:
    for vip in vips:
        yield from zip(vip.backends, vip.stats.backends, vip.metrics.backends, strict=True)


def _and(labels: Labels, **more: str) -> Labels:
    return Labels(**labels, **more)


def _counter(name: str, words: str, samples: _Samples) -> Family:
    return Family(name, "counter", words, samples)


def _gauge(name: str, words: str, samples: _Samples) -> Family:
    return Family(name, "gauge", words, samples)
