// The npm package `mqtt`, all connections in one process: `node receive_mqtt.js PORT SUBSCRIBERS`.
// NODE_PATH names the folder that has the package. Each message's JSON is decoded, the latency goes into an array.
const mqtt = require('mqtt')

const [port, count] = process.argv.slice(2).map(Number)
const latencies = []
let open = count

for (let n = 0; n < count; n++) {
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 })
  client.on('connect', () => client.subscribe('default/bench'))
  client.on('message', (topic, payload) => {
    latencies.push(Date.now() - JSON.parse(payload)._lg[3] / 1e6)
  })
  client.on('error', (error) => { throw error })
  client.on('close', () => {
    open--
    if (open === 0) {
      console.log(JSON.stringify({ deliveries: latencies.length }))
      process.exit(0)
    }
  })
}
