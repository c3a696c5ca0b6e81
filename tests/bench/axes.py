"""What is measured, and what it must show: a row an axis, with its bars. Table, JSON and plots are made from it."""

import dataclasses

RING_KIB = 8 << 10  # RingSize's default


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number of a measurement: `path` says where it is in what bench_load prints."""
    name: str
    unit: str
    path: tuple
    digits: int = 0


CPU_DELIVERY = Figure("CPU/delivery", "us", ("cpuPerDeliveryUs",), 3)
CPU_MESSAGE = Figure("CPU/message", "us", ("cpuPerMessageUs",), 2)
CPU_SEND = Figure("CPU/send", "us", ("cpuPerSendUs",), 2)
RATE = Figure("rate", "/s", ("perSecond",))
LOAD = Figure("load busy", "%", ("loadBusyPercent",))  # at 100 it would be what is measured
P50 = Figure("p50", "us", ("latencyUs", "p50"), 1)
P99 = Figure("p99", "us", ("latencyUs", "p99"), 1)
PEAK = Figure("peak RSS", "KiB", ("rssKiB", "peak"))
# A page of the ring counts twice, for it is mapped twice.
GROWTH = Figure("RSS growth", "KiB", ("rssKiB", "growth"))
IDLE_RSS = Figure("RSS without", "KiB", ("rssKiB", "before"))
IDLE_RSS_WITH = Figure("RSS with them", "KiB", ("rssKiB", "with"))
SUBSCRIBER = Figure("per subscriber", "bytes", ("bytesPerSubscriber",))
WAKE_UPS = Figure("wake-ups", "", ("wakeUps",))
HEARTBEATS = Figure("heartbeats", "", ("heartbeats",))
STORE_PAUSES = Figure("pauses", "", ("stats", "storePauses"))
TRANSACTIONS = Figure("transactions", "", ("stats", "transactions"))
PEAK_PART = Figure("peak/message", "x", ("peakPerMessage",), 2)


@dataclasses.dataclass(frozen=True)
class Bar:
    """`subject`'s figure must be <= or >= limit; with `times`: that many times the other system's; with `beyond`: so
    much more than the other system's."""
    figure: Figure
    sign: str
    limit: float
    times: str = ""
    beyond: str = ""
    subject: str = "imd"

    def other(self):
        return self.times or self.beyond

    def value(self, subject, other):
        if self.times:
            return subject / other if other else float("inf")
        return subject - other if self.beyond else subject

    def met(self, value):
        return value <= self.limit if self.sign == "<=" else value >= self.limit

    def text(self):
        told = f"{self.figure.name} {self.sign} {self.limit:g}"
        if self.times:
            told += f" x {self.times}"
        elif self.beyond:
            told += f" {self.figure.unit} beyond {self.beyond}"
        elif self.figure.unit:
            told += f" {self.figure.unit}"
        return told if self.subject == "imd" else f"{self.subject}: {told}"


@dataclasses.dataclass(frozen=True)
class Axis:
    name: str
    title: str
    systems: tuple
    figures: tuple
    bars: tuple = ()
    mode: str = "fanout"  # of bench_load; "large": a way of its own
    arguments: dict = dataclasses.field(default_factory=dict)  # of bench_load
    quick: bool = False  # part of --quick


BROKERS = ("redis", "mosquitto", "nats")
ALL = ("imd", "limit, line", "limit, coalesced", "node", *BROKERS)
PACED = ("imd", "limit, line", "node", *BROKERS)  # one message at a time: nothing to coalesce
FAST_FIGURES = (CPU_DELIVERY, RATE, PEAK, LOAD)
PACED_FIGURES = (P50, P99, CPU_MESSAGE)
SIZES_AT = 10  # subscribers at which message sizes are compared


def at_most(figure, **times):
    """Bars relative to systems."""
    return tuple(Bar(figure, "<=", limit, times=name) for name, limit in times.items())


def counted(count, what):
    return f"{count} {what}{'' if count == 1 else 's'}"


def fast(count, messages, bars, **more):
    return Axis(f"fast-{count}", f"as fast as possible, {counted(count, 'subscriber')}", ALL, FAST_FIGURES, bars,
                arguments={"subscribers": count, "messages": messages}, **more)


def paced(rate, count, seconds, bars=(), **more):
    return Axis(f"{rate}-{count}", f"{rate:,} messages/s, {counted(count, 'subscriber')}", PACED, PACED_FIGURES, bars,
                arguments={"subscribers": count, "messages": rate * seconds, "rate": rate}, **more)


def sized(size, messages):
    common = {"subscribers": SIZES_AT, "size": size}
    return (
        Axis(f"fast-size-{size}", f"as fast as possible, {SIZES_AT} subscribers, {size} bytes", ALL,
             FAST_FIGURES, arguments={**common, "messages": messages}),
        Axis(f"200-size-{size}", f"200 messages/s, {SIZES_AT} subscribers, {size} bytes", PACED, PACED_FIGURES,
             arguments={**common, "messages": 600, "rate": 200}),
    )


def trip(connections, outstanding, messages, bars=(), **more):
    return Axis(f"trip-{connections}x{outstanding}",
                f"send -> ack, {counted(connections, 'connection')}, {outstanding} outstanding each", ("imd", "node"),
                (RATE, CPU_SEND, P50, P99), bars, "trip",
                {"connections": connections, "outstanding": outstanding, "messages": messages}, **more)


def idle(count, bars, **more):
    return Axis(f"idle-{count}", f"idle, {counted(count, 'subscriber')}", ("imd", "imd, history", "node"),
                (IDLE_RSS, IDLE_RSS_WITH, SUBSCRIBER, WAKE_UPS, HEARTBEATS), bars, "idle",
                {"subscribers": count, "seconds": 7}, **more)


def beside(name, title, systems, bars=(), figures=(), messages=500_000, **more):
    """imd in one way beside imd in another, 10 subscribers, as fast as possible."""
    return Axis(name, f"{title}, as fast as possible, 10 subscribers", systems,
                (RATE, CPU_MESSAGE, GROWTH, *figures), bars, arguments={"subscribers": 10, "messages": messages}, **more)


AXES = (
    fast(1, 1_500_000, at_most(CPU_DELIVERY, node=0.25, redis=2.2), quick=True),
    fast(10, 500_000, at_most(CPU_DELIVERY, node=0.08, redis=0.9, nats=1.1)),
    fast(100, 100_000, at_most(CPU_DELIVERY, node=0.04, redis=0.5, nats=0.4, **{"limit, coalesced": 2}), quick=True),
    fast(1000, 10_000, at_most(CPU_DELIVERY, node=0.05, redis=0.3, nats=0.3, **{"limit, coalesced": 2})),
    paced(200, 1, 3, at_most(P50, redis=1.15, node=0.8) + at_most(CPU_MESSAGE, **{"limit, line": 1.4})),
    paced(200, 10, 3),
    paced(200, 100, 3, at_most(P50, redis=1.15, node=1.05) + at_most(CPU_MESSAGE, **{"limit, line": 1.2}), quick=True),
    paced(200, 1000, 3),
    paced(2000, 1, 2),
    paced(2000, 10, 2),
    paced(2000, 100, 2, at_most(P50, redis=1.03, node=0.8) + at_most(P99, redis=1.03, node=0.8)),
    *sized(4096, 100_000),
    *sized(65536, 10_000),
    trip(1, 1, 10_000, at_most(P50, node=1.05)),
    trip(1, 64, 150_000, (Bar(RATE, ">=", 1.7, times="node"), *at_most(CPU_SEND, node=0.6)), quick=True),
    trip(64, 1, 100_000),
    trip(64, 64, 150_000),
    beside("stalled", "one subscriber among 11 never reads", ("imd", "imd, one stalled"),
           (Bar(RATE, ">=", 0.95, times="imd", subject="imd, one stalled"),
            Bar(GROWTH, "<=", RING_KIB, beyond="imd", subject="imd, one stalled")),
           messages=4_000_000, quick=True),  # the one pause of up to 100 ms for who may yet read is no rate
    beside("filter", "a filter takes half of the messages", ("imd", "imd, filter", "node", "node, filter")),
    beside("history", "history on and off", ("imd", "imd, history"),
           (Bar(RATE, ">=", 0.7, times="imd", subject="imd, history"),), (STORE_PAUSES, TRANSACTIONS), quick=True),
    beside("tls", "TLS", ("imd", "imd, tls", "node", "node, tls")),
    idle(1, (Bar(IDLE_RSS, "<=", 8 << 10), Bar(WAKE_UPS, "<=", 0))),
    idle(1000, (Bar(SUBSCRIBER, "<=", 1024), Bar(WAKE_UPS, "<=", 0))),
    Axis("large", "a message of 60 MiB, 1 subscriber", ("imd", "node"), (PEAK_PART, PEAK), (Bar(PEAK_PART, "<=", 3),),
         "large", quick=True),
)

# Programs that print what one step costs, and their arguments.
MICRO = {"bench_decode": [], "bench_encode": ["10000"], "bench_ring": [], "bench_filter": []}


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure over the axes named, against `x` of their arguments (default: what bench_load takes)."""
    name: str
    title: str
    figure: Figure
    x: str
    default: int
    label: str
    axes: tuple


def against_subscribers(name, title, figure, kind):
    return Plot(f"{name}-subscribers", f"{title}, 300 bytes", figure, "subscribers", 1, "subscribers",
                tuple(f"{kind}-{count}" for count in (1, 10, 100, 1000)))


def against_size(name, title, figure, kind):
    return Plot(f"{name}-size", f"{title}, {SIZES_AT} subscribers", figure, "size", 300, "bytes of a message",
                (f"{kind}-{SIZES_AT}", f"{kind}-size-4096", f"{kind}-size-65536"))


PLOTS = tuple(against(*of) for against in (against_subscribers, against_size) for of in (
    ("cpu", "CPU for each delivery, as fast as possible", CPU_DELIVERY, "fast"),
    ("p50", "Latency to the last subscriber, median, 200 messages/s", P50, "200"),
    ("p99", "Latency to the last subscriber, 99 %, 200 messages/s", P99, "200"),
))
