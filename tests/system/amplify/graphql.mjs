// Amplify as an application uses it for a GraphQL API of AppSync; prints one line of JSON for each login.
import WS from 'ws'
import { Amplify } from 'aws-amplify'
import { generateClient } from 'aws-amplify/api'

const env = process.env
// What went over the wire: Amplify keeps much of it to itself.
const sockets = []
// Node 20 has no WebSocket of its own.
globalThis.WebSocket = class extends (globalThis.WebSocket ?? WS) {
  types = []

  constructor(url, protocols) {
    super(url, protocols)
    sockets.push(this)
    this.addEventListener('message', ({ data }) => this.types.push(JSON.parse(data).type))
  }

  send(data) {
    this.types.push(`> ${JSON.parse(data).type}`)
    super.send(data)
  }
}

const credentials = { accessKeyId: env.GRAPHQL_ACCESS_KEY, secretAccessKey: env.GRAPHQL_SECRET_KEY }
Amplify.configure(
  {
    API: {
      GraphQL: {
        endpoint: env.GRAPHQL_URL,
        region: 'us-east-1',
        defaultAuthMode: 'apiKey',
        apiKey: env.GRAPHQL_API_KEY,
      },
    },
  },
  {
    Auth: {
      credentialsProvider: {
        getCredentialsAndIdentityId: async () => ({ credentials }),
        clearCredentialsAndIdentityId: () => {},
      },
      tokenProvider: {
        getTokens: async () => ({ accessToken: { payload: {}, toString: () => env.GRAPHQL_JWT } }),
      },
    },
  },
)
const client = generateClient()
const SUBSCRIBE = 'subscription S($name: String!) { subscribe(name: $name) { name data } }'
const PUBLISH = 'mutation P($name: String!, $data: AWSJSON!) { publish(name: $name, data: $data) { name data } }'
const EVENTS = 3

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const textOf = (error) => JSON.stringify(error?.errors ?? error?.message ?? error)

async function until(condition, what) {
  const end = Date.now() + 30_000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what}: not within 30 s`)
    await pause(5)
  }
}

async function heard(name, options) {
  const received = []
  const errors = []
  const before = sockets.length
  const subscription = client
    .graphql({ query: SUBSCRIBE, variables: { name }, ...options })
    .subscribe({ next: ({ data }) => received.push(data.subscribe), error: (error) => errors.push(textOf(error)) })
  try {
    const begun = () => sockets.length > before && sockets.at(-1).types.includes('start_ack')
    await until(() => errors.length || begun(), 'start_ack')
    if (errors.length) return { errors }
    for (let number = 0; number < EVENTS; number++) {
      const data = JSON.stringify({ number, text: 'ä"\\' })
      const answer = await client.graphql({ query: PUBLISH, variables: { name, data }, ...options })
      if (answer.data.publish.data !== data) throw new Error(`published ${textOf(answer)}`)
    }
    await until(() => received.length >= EVENTS, 'deliveries')
    subscription.unsubscribe()
    await until(() => sockets.at(-1).types.includes('complete'), 'complete')
    return { received, types: sockets.at(-1).types, opened: sockets.length - before, errors }
  } catch (error) {
    return { errors: [...errors, textOf(error)] }
  } finally {
    subscription.unsubscribe()
    for (const socket of sockets) socket.close()
    await pause(200)
  }
}

const logins = {
  apiKey: {},
  oidc: { authMode: 'oidc' },
  lambda: { authMode: 'lambda', authToken: 'let me in' },
  iam: { authMode: 'iam' },
  refused: { authMode: 'lambda', authToken: 'no' },
}
for (const [name, options] of Object.entries(logins)) {
  console.log(JSON.stringify({ login: name, ...(await heard(name, options)) }))
}
process.exit(0)
