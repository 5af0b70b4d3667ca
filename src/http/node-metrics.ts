/** What a monitoring system sees of the node. README.md lists the metrics; a test compares. */

import type { Metric, Sample } from './open-metrics.ts'
import type { FeedSummary, NodeOperations, NodeStatus, PeerSummary, Problem, ReplicationSummary } from './operations.ts'
import type { AnswerCounts } from './request-log.ts'

const STATES = ['waiting', 'connecting', 'ok', 'running', 'behind', 'failing', 'paused', 'unreachable'] as const

export async function collectMetrics(operations: NodeOperations, counts: AnswerCounts): Promise<Metric[]> {
  const [status, feeds, replications, peers, problems] = await Promise.all([
    operations.status(),
    operations.listFeeds(),
    operations.listReplications(),
    operations.peers(),
    operations.doctor(),
  ])
  return [
    ...describeNode(status, peers),
    ...describeFeeds(feeds),
    ...describeReplications(replications),
    describeProblems(problems),
    ...describeProcess(counts),
  ]
}

function gauge(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, type: 'gauge', help, samples }
}

function describeNode({ version, peerId }: NodeStatus, peers: readonly PeerSummary[]): Metric[] {
  const connected = peers.filter((peer) => peer.connected)
  const rate = (pick: (peer: PeerSummary) => number) => peers.reduce((sum, peer) => sum + pick(peer), 0)
  const help = 'Version and PeerId of the node.'
  return [
    { name: 'feedmesh_node', type: 'info', help, samples: [{ labels: { version, peer_id: peerId }, value: 1 }] },
    gauge('feedmesh_peers_connected', 'Peers with a live connection.', [{ value: connected.length }]),
    gauge('feedmesh_peers_receive_rate', 'Bytes a second from all peers.', [{ value: rate((peer) => peer.inRate) }]),
    gauge('feedmesh_peers_send_rate', 'Bytes a second to all peers.', [{ value: rate((peer) => peer.outRate) }]),
  ]
}

function describeFeeds(feeds: readonly FeedSummary[]): Metric[] {
  const each = (pick: (feed: FeedSummary) => number) =>
    feeds.map((feed) => ({ labels: { feed: feed.name, type: feed.type }, value: pick(feed) }))
  return [
    gauge(
      'feedmesh_feed_entries',
      'Versions or assets in a feed.',
      each((feed) => feed.entries),
    ),
    gauge(
      'feedmesh_feed_bytes',
      'Sizes of the files of a feed, summed.',
      each((feed) => feed.bytes),
    ),
  ]
}

function describeReplications(replications: readonly ReplicationSummary[]): Metric[] {
  const each = (pick: (replication: ReplicationSummary) => number) =>
    replications.map((replication) => ({ labels: { replication: replication.id }, value: pick(replication) }))
  const states = replications.flatMap(({ id, state }) =>
    STATES.map((name) => ({ labels: { replication: id, state: name }, value: state === name ? 1 : 0 })),
  )
  return [
    gauge('feedmesh_replication_state', '1 for the state a replication is in.', states),
    gauge(
      'feedmesh_replication_lag_items',
      'Items known to be missing.',
      each(({ lag }) => lag.items),
    ),
    gauge(
      'feedmesh_replication_lag_bytes',
      'Bytes known to be missing.',
      each(({ lag }) => lag.bytes),
    ),
    gauge(
      'feedmesh_replication_lag_seconds',
      'Time since both ends were last equal.',
      each(({ lag }) => lag.seconds),
    ),
  ]
}

function describeProblems(problems: readonly Problem[]): Metric {
  const counts = Map.groupBy(problems, ({ code }) => code)
  const samples = [...counts].map(([code, found]) => ({ labels: { code }, value: found.length }))
  return gauge('feedmesh_problems', 'Open problems by code; feedmesh doctor tells cause and cure.', samples)
}

function describeProcess(counts: AnswerCounts): Metric[] {
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  const startedAt = Date.now() / 1000 - process.uptime()
  const answers = [...counts].map(([code, value]) => ({ labels: { code }, value }))
  return [
    { name: 'feedmesh_http_answers', type: 'counter', help: 'HTTP answers by class of status.', samples: answers },
    gauge('process_resident_memory_bytes', 'Memory of the process.', [{ value: rss }]),
    gauge('nodejs_heap_used_bytes', 'JavaScript heap in use.', [{ value: heapUsed }]),
    gauge('process_start_time_seconds', 'When the process started, Unix time.', [{ value: startedAt }]),
    {
      name: 'process_cpu_seconds',
      type: 'counter',
      help: 'CPU time used.',
      samples: [{ value: (user + system) / 1e6 }],
    },
  ]
}
