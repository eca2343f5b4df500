// Artillery's processor: a virtual user a connection, JSON decoded twice, the latency into an array; a `histogram`
// event for each would cost more than the delivery.
const fs = require('fs')

const latencies = []
let open = 0

function receive (context, events, done) {
  const socket = context.ws
  const id = String(open++).padStart(36, '0')
  socket.on('message', (text) => {
    const frame = JSON.parse(text)
    if (frame.type === 'data') {
      latencies.push(Date.now() - JSON.parse(frame.event)._lg[3] / 1e6)
    } else if (frame.type === 'connection_ack') {
      socket.send(JSON.stringify({ type: 'subscribe', id, channel: '/default/bench' }))
    }
  })
  socket.on('close', () => {
    open--
    if (open === 0) fs.writeSync(1, `\n${JSON.stringify({ deliveries: latencies.length })}\n`)
    done()
  })
  socket.send(JSON.stringify({ type: 'connection_init' }))
}

module.exports = { receive }
