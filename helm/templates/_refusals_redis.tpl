{{/* Messages about values for Redis that cannot work. */}}

{{- define "lighterage.refuse.redis" -}}
{{- $values := .Values.redis -}}
{{- $manifests := (.Values.config | default dict).manifests | default dict -}}
{{- $redis := $manifests.redis | default dict -}}
{{- $store := $manifests.store | default "" -}}
{{- $urls := list -}}
{{- range $url := ternary (list $redis.url) $redis.url (kindIs "string" $redis.url) | default list -}}
{{- $urls = concat $urls (regexSplit "\\s*,\\s*" (toString $url) -1) -}}
{{- end -}}
{{- $somewhere := or $urls $redis.sentinels $values.urlKey $values.bundled.enabled -}}
{{- $tls := or $redis.tls $redis.ca_file $redis.certificate_file $values.tlsSecret -}}
{{- $plain := list -}}
{{- range $urls }}{{ if not (hasPrefix "rediss://" .) }}{{ $plain = append $plain . }}{{ end }}{{ end -}}
{{- $messages := list -}}

{{- if and $values.bundled.enabled (or $urls $redis.sentinels $values.urlKey) -}}
{{- $messages = append $messages "redis.bundled.enabled is true, and config.manifests.redis names another Redis: remove one of them." -}}
{{- end -}}
{{- if and $values.bundled.enabled $values.existingSecret -}}
{{- $messages = append $messages "redis.existingSecret: the Redis of redis.bundled has no password. Remove one of them." -}}
{{- end -}}
{{- if and $values.bundled.enabled $tls -}}
{{- $messages = append $messages "redis.tlsSecret: the Redis of redis.bundled has no TLS. Remove one of them." -}}
{{- end -}}
{{- if and $values.bundled.enabled (not (or $values.bundled.image.tag $values.bundled.image.digest)) -}}
{{- $messages = append $messages "redis.bundled.image needs a tag or a digest." -}}
{{- end -}}
{{- $limit := include "lighterage.mebibytes" (dig "limits" "memory" "" ($values.bundled.resources | default dict)) | int64 -}}
{{- if and $values.bundled.enabled $limit (gt (int64 $values.bundled.maxMemory) $limit) -}}
{{- $messages = append $messages (printf "redis.bundled.maxMemory is %d MiB, and Redis is killed at %d MiB. Set redis.bundled.resources.limits.memory to 1.5 times maxMemory." (int64 $values.bundled.maxMemory) $limit) -}}
{{- end -}}
{{- if and (eq $store "sqlite") (or $values.bundled.enabled $values.urlKey) -}}
{{- $messages = append $messages "config.manifests.store is sqlite, but redis.bundled or redis.urlKey configures a Redis: remove one of them." -}}
{{- end -}}
{{- if and $values.urlKey (not $values.existingSecret) -}}
{{- $messages = append $messages "redis.urlKey is a key of redis.existingSecret, which is empty: name the Secret." -}}
{{- end -}}
{{- if and $values.urlKey (or $urls $redis.sentinels) -}}
{{- $messages = append $messages "redis.urlKey is set, and config.manifests.redis has url or sentinels: only one can be the address of Redis. Remove the other." -}}
{{- end -}}
{{- if and $values.existingSecret (not (or $values.passwordKey $values.sentinelPasswordKey $values.urlKey)) -}}
{{- $messages = append $messages "redis.existingSecret: name its keys with redis.passwordKey, redis.sentinelPasswordKey or redis.urlKey." -}}
{{- end -}}
{{- if and (or $values.passwordKey $values.sentinelPasswordKey) (not $values.existingSecret) -}}
{{- $messages = append $messages "redis.passwordKey and redis.sentinelPasswordKey are keys of redis.existingSecret, which is empty: name the Secret." -}}
{{- end -}}
{{- if and (or $values.existingSecret $values.tlsSecret) (not $somewhere) (not .Values.existingConfigMap) -}}
{{- $messages = append $messages "redis.existingSecret and redis.tlsSecret are for a Redis, but no Redis is configured: set config.manifests to {store: redis, redis: {url: …}}, or redis.urlKey." -}}
{{- end -}}
{{- if and $values.clientCertificate (not $values.tlsSecret) -}}
{{- $messages = append $messages "redis.clientCertificate needs redis.tlsSecret, the Secret with the certificate." -}}
{{- end -}}

{{- if and $redis.hmac_key_file (include "lighterage.redis.key.secret" .) -}}
{{- $messages = append $messages "config.manifests.redis.hmac_key_file and redis.hmacKey: only one can be the key. Name its Secret in redis.hmacKey.existingSecret instead, or set redis.hmacKey.create to false." -}}
{{- end -}}
{{- if and $values.hmacKey.existingSecret (not $somewhere) (not .Values.existingConfigMap) -}}
{{- $messages = append $messages "redis.hmacKey.existingSecret is for a Redis, but no Redis is configured: remove it." -}}
{{- end -}}

{{- if and (or $urls $redis.sentinels) (ne $store "redis") -}}
{{- $messages = append $messages "config.manifests.redis configures a Redis, but config.manifests.store is sqlite: set store: redis." -}}
{{- end -}}
{{- if and (eq $store "redis") (not $somewhere) -}}
{{- $messages = append $messages "config.manifests.store is redis, but no Redis is configured: set config.manifests.redis.url, or sentinels and service, or redis.urlKey." -}}
{{- end -}}
{{- if and $urls $redis.sentinels -}}
{{- $messages = append $messages "config.manifests.redis has url and sentinels: only one can be the address of Redis. Remove the other." -}}
{{- end -}}
{{- if ne (empty $redis.sentinels) (empty $redis.service) -}}
{{- $messages = append $messages "config.manifests.redis: sentinels and service, the master's name, are used together. Set both." -}}
{{- end -}}
{{- if and (gt (len $urls) 1) (not $redis.cluster) -}}
{{- $messages = append $messages "config.manifests.redis.url: several URLs are the nodes of a cluster. Set cluster: true, or keep one URL." -}}
{{- end -}}
{{- if and $redis.cluster (not (or $urls $values.urlKey)) -}}
{{- $messages = append $messages "config.manifests.redis.cluster needs url, of one of its nodes at least." -}}
{{- end -}}
{{- range $url := $urls -}}
{{- if and $redis.cluster (regexMatch "^[a-z]+://[^/]+/0*[1-9]" $url) -}}
{{- $messages = append $messages "config.manifests.redis.url: a cluster has only database 0. Remove the part after the port." -}}
{{- end -}}
{{- end -}}
{{- if and $tls $plain -}}
{{- $messages = append $messages "config.manifests.redis.url: TLS (redis.tlsSecret, ca_file, certificate_file or tls) needs URLs that begin with rediss://." -}}
{{- end -}}
{{- if and $tls $redis.sentinels (not $redis.tls) -}}
{{- $messages = append $messages "config.manifests.redis: TLS with sentinels needs tls: true." -}}
{{- end -}}
{{- if ne (empty $redis.certificate_file) (empty $redis.key_file) -}}
{{- $messages = append $messages "config.manifests.redis: certificate_file and key_file are used together. Set both, or redis.tlsSecret." -}}
{{- end -}}

{{- if or (hasKey $redis "password") (hasKey $redis "sentinel_password") -}}
{{- $messages = append $messages "config.manifests.redis has a password: a ConfigMap is not for secrets. Put it into a Secret, and name that in redis.existingSecret." -}}
{{- end -}}
{{- range $url := $urls -}}
{{- if regexMatch "://[^/]*:[^/]*@" $url -}}
{{- $messages = append $messages "config.manifests.redis.url has a password in it: a ConfigMap is not for secrets. Put the URL into a Secret, and name it in redis.existingSecret and redis.urlKey." -}}
{{- end -}}
{{- end -}}
{{- if or (and $redis.password_file $values.passwordKey) (and $redis.sentinel_password_file $values.sentinelPasswordKey) -}}
{{- $messages = append $messages "config.manifests.redis has a password_file, and redis.passwordKey or redis.sentinelPasswordKey is set: remove one of them." -}}
{{- end -}}
{{- if and $redis.username (not (or $redis.password_file $redis.password $values.passwordKey)) -}}
{{- $messages = append $messages "config.manifests.redis.username needs a password: name its Secret in redis.existingSecret and redis.passwordKey." -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
