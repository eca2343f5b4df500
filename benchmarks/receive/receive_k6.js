// k6 with k6/experimental/websockets: all connections in one VU, JSON decoded twice, the latency into a Trend.
import { WebSocket } from 'k6/experimental/websockets'
import { Trend, Counter } from 'k6/metrics'

const latency = new Trend('latency')
const deliveries = new Counter('deliveries')
const count = Number(__ENV.BENCH_SUBSCRIBERS)
export const options = { vus: 1, iterations: 1 }

export default function () {
  for (let n = 0; n < count; n++) {
    const socket = new WebSocket(`ws://127.0.0.1:${__ENV.BENCH_PORT}/event/realtime`)
    const id = String(n).padStart(36, '0')
    socket.onopen = () => socket.send(JSON.stringify({ type: 'connection_init' }))
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data)
      if (frame.type === 'data') {
        latency.add(Date.now() - JSON.parse(frame.event)._lg[3] / 1e6)
        deliveries.add(1)
      } else if (frame.type === 'connection_ack') {
        socket.send(JSON.stringify({ type: 'subscribe', id, channel: '/default/bench' }))
      }
    }
  }
}

export function handleSummary(data) {
  const counted = data.metrics.deliveries
  return { stdout: JSON.stringify({ deliveries: counted ? counted.values.count : 0 }) + '\n' }
}
