// The grammar of channels. `check` returns one sentence about an invalid channel, or null for a valid one.
const SEGMENT = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?$/

const normal = (channel) => `/${channel.replace(/^\//, '').replace(/\/$/, '')}`

// Returns true if a subscription to the pattern receives events of the channel; both must be valid.
export function matches(pattern, channel) {
  const [subscribed, published] = [normal(pattern), normal(channel)]
  if (!subscribed.endsWith('/*')) return subscribed === published
  const prefix = subscribed.slice(0, -1)
  return published.startsWith(prefix) && published.length > prefix.length
}

export function check(channel, wildcardAllowed) {
  if (!channel) return 'The channel is empty: write one such as /default/greetings.'
  const segments = normal(channel).slice(1).split('/')
  if (segments.length > 5) return `The channel has ${segments.length} parts: at most 5 are allowed.`
  if (segments.at(-1) === '*') {
    if (!wildcardAllowed) return 'Only a subscription may end in *: publish to one channel.'
    if (segments.length === 1) return 'A * needs a namespace before it, as in /default/*.'
    segments.pop()
  }
  for (const segment of segments) {
    if (segment === '*') return 'Only the last part may be *.'
    if (!segment) return 'A part is empty: write one slash between parts.'
    if (segment.length > 50) return `A part has ${segment.length} characters: at most 50 are allowed.`
    if (!SEGMENT.test(segment)) return `"${segment}" may hold only letters, digits and dashes, no dash at either end.`
  }
  return null
}
